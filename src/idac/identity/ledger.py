"""What is written down in passing, without anyone waiting for it: refused accesses and the last use of tokens."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from idac.core.errors import StoreUnavailable
from idac.identity.store import IdentityStore, Records
from idac.identity.token_store import note_use

log = logging.getLogger(__name__)

_EVERY_S = 1.0
#: Different refusals that wait at most; more of them in a second are a flood, of which a number is told.
_MOST = 1000

type Refusal = tuple[str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class _Use:
    """A token that was used."""

    token: str

    def write(self, records: Records) -> None:
        note_use(records, self.token)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A refusal, and how often it was given."""

    what: Refusal
    times: int

    def write(self, records: Records) -> None:
        actor, subject, address, why = self.what
        records.note(actor, "refused", subject, address=address, why=why, times=self.times)


@dataclass(frozen=True, slots=True)
class _Acted:
    """A request in somebody else's name, and how often it was made."""

    what: Refusal
    times: int

    def write(self, records: Records) -> None:
        actor, account, address, done = self.what
        records.note(actor, "user impersonated", account, address=address, request=done, times=self.times)


type _Entry = _Use | _Refused | _Acted


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
        entries = self._gathered()
        if not entries:
            return
        try:
            with self._store.write() as records:
                for entry in entries:
                    entry.write(records)
        except StoreUnavailable:
            self._keep(entries)
            raise
        except Exception:  # noqa: BLE001  what it was is told of the entry that can't be written by itself either
            self._write_each(entries)

    def _gathered(self) -> list[_Entry]:
        with self._lock:
            refusals, self._refusals = self._refusals, Counter()
            uses, self._uses = self._uses, set()
            acts, self._acts = self._acts, Counter()
        return [
            *(_Use(token) for token in sorted(uses)),
            *(_Refused(what, times) for what, times in refusals.items()),
            *(_Acted(what, times) for what, times in acts.items()),
        ]

    def _keep(self, entries: Iterable[_Entry]) -> None:
        with self._lock:
            for entry in entries:
                match entry:
                    case _Use(token):
                        self._uses.add(token)
                    case _Refused(what, times):
                        self._refusals[what] += times
                    case _Acted(what, times):
                        self._acts[what] += times

    def _write_each(self, entries: list[_Entry]) -> None:
        """Write what can be written: one entry that the database refuses must not hide all those around it."""
        for position, entry in enumerate(entries):
            try:
                with self._store.write() as records:
                    entry.write(records)
            except StoreUnavailable:
                self._keep(entries[position:])
                raise
            except Exception as error:  # noqa: BLE001  told, and no reason to lose the rest
                # Neither the entry nor what the database says of it: whoever was refused chose their words.
                facts = {"entry": type(entry).__name__.strip("_").lower(), "error": type(error).__name__}
                log.error("an entry could not be written into the audit log", extra=facts)

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
