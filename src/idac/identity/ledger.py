"""What is written down in passing, without anyone waiting for it: refused accesses and the last use of tokens."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from idac.core.errors import StoreUnavailable
from idac.identity.store import IdentityStore
from idac.identity.token_store import note_use

log = logging.getLogger(__name__)

_EVERY_S = 1.0
#: Different refusals that wait at most; more of them in a second are a flood, of which a number is told.
_MOST = 1000

type Refusal = tuple[str, str, str | None, str]


class Ledger:
    """Writes once a second what has gathered. The same refusal many times over is one entry with a count."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._refusals: Counter[Refusal] = Counter()
        self._uses: set[str] = set()
        self._acts: Counter[Refusal] = Counter()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def note_use(self, token: str) -> None:
        with self._lock:
            self._uses.add(token)

    def note_refusal(self, actor: str, subject: str, address: str | None, why: str) -> None:
        """*actor* was refused *subject*, an address of this centre or a table."""
        refusal: Refusal = (actor, subject[:200], address, why)
        with self._lock:
            if refusal not in self._refusals and len(self._refusals) >= _MOST:
                refusal = ("many", "many addresses", None, "too many refusals to tell apart")
            self._refusals[refusal] += 1

    def note_acting(self, actor: str, account: str, address: str | None, done: str) -> None:
        """*actor*, an administrator, did something in the name of *account*."""
        act: Refusal = (actor, account, address, done[:200])
        with self._lock:
            if act not in self._acts and len(self._acts) >= _MOST:
                act = (actor, account, address, "too many requests to tell apart")
            self._acts[act] += 1

    def start(self) -> None:
        self._thread = threading.Thread(target=self._go_on, name="idac-ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(10)
        self._write()

    def flush(self) -> None:
        """Write what has gathered, now. Raises StoreUnavailable where that can't be; it is kept for the next time."""
        with self._lock:
            refusals, self._refusals = self._refusals, Counter()
            uses, self._uses = self._uses, set()
            acts, self._acts = self._acts, Counter()
        if not refusals and not uses and not acts:
            return
        try:
            with self._store.write() as records:
                for token in sorted(uses):
                    note_use(records, token)
                for (actor, subject, address, why), times in refusals.items():
                    records.note(actor, "refused", subject, address=address, why=why, times=times)
                for (actor, account, address, done), times in acts.items():
                    records.note(actor, "user impersonated", account, address=address, request=done, times=times)
        except StoreUnavailable:
            with self._lock:
                self._refusals += refusals
                self._uses |= uses
                self._acts += acts
            raise

    def _go_on(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            self._write()

    def _write(self) -> None:
        try:
            self.flush()
        except StoreUnavailable:
            log.warning("the audit log waits for the state database")
        except Exception:
            log.exception("the audit log could not be written")
