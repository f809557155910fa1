"""What is written down in passing, without anyone waiting for it: refused accesses and the last use of tokens."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from idac.core.errors import StoreUnavailable
from idac.core.principal import ANONYMOUS
from idac.identity.model import Action
from idac.identity.store import IdentityStore, Records
from idac.identity.token_store import note_use
from idac.web.callers import network_of

log = logging.getLogger(__name__)

_EVERY_S = 1.0
#: Different refusals that wait at most; more of them in a second are a flood, of which a number is told.
_MOST = 1000
#: Refusals of one caller that are told apart: so many at once, and one more with each of so many seconds. Anyone may be
#: refused as often as they like, and nobody can shorten the log.
_TOLD, _TOLD_EVERY_S = 1000, 30.0
#: Seconds between entries that tell how many further ones there were.
_UNTOLD_EVERY_S = 600.0
#: Callers that are remembered; the one refused longest ago is forgotten first.
_CALLERS = 10_000

_TOO_MANY = "too many refusals to tell apart"


class Refusal(NamedTuple):
    """What was refused to whom, and why. *how*: the provider, or other way, by which somebody wanted to log in."""

    actor: str
    subject: str | None
    address: str | None
    why: str
    how: str | None = None


#: Who did something in the name of which account, from where, and what it was.
type Act = tuple[str, str, str | None, str]


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
        actor, subject, address, why, how = self.what
        action: Action = "refused" if how is None else "login refused"
        records.note(actor, action, subject, address=address, why=why, how=how, times=self.times)


@dataclass(frozen=True, slots=True)
class _Acted:
    """A request in somebody else's name, and how often it was made."""

    what: Act
    times: int

    def write(self, records: Records) -> None:
        actor, account, address, done = self.what
        records.note(actor, "user impersonated", account, address=address, request=done, times=self.times)


type _Entry = _Use | _Refused | _Acted


class _Room:
    """How many entries each caller still has."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, caller: tuple[str, str]) -> bool:
        """True where the caller had one, which is used up now."""
        now = self._now()
        left, at = self._left.pop(caller, (float(_TOLD), now))
        left = min(_TOLD, left + (now - at) / _TOLD_EVERY_S)
        taken = left >= 1
        self._left[caller] = (left - 1 if taken else left, now)
        while len(self._left) > _CALLERS:
            self._left.popitem(last=False)
        return taken


class Ledger:
    """Writes once a second what has gathered. The same refusal many times over is one entry with a count.

    *now* is a clock that only goes forward, for tests to turn.
    """

    def __init__(self, store: IdentityStore, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._room = _Room(now)
        self._lock = threading.Lock()
        self._refusals: Counter[Refusal] = Counter()
        self._untold: Counter[Refusal] = Counter()
        self._untold_since = float("-inf")
        self._uses: set[str] = set()
        self._acts: Counter[Act] = Counter()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def note_use(self, token: str) -> None:
        with self._lock:
            self._uses.add(token)

    def note_refusal(self, actor: str, subject: str, address: str | None, why: str) -> None:
        """*actor* was refused *subject*, an address of this centre or a table."""
        self._note(Refusal(actor, subject[:200], address, why))

    def note_log_in_refused(self, account: str | None, how: str, address: str | None, why: str) -> None:
        """Somebody did not get in by *how*, a provider or another way; as *account*, where they named one or have it.

        They are nobody yet: what they typed is no more than what they asked for.
        """
        self._note(Refusal(ANONYMOUS.name, account, address, why, how))

    def _note(self, refusal: Refusal) -> None:
        caller = (refusal.actor, network_of(refusal.address or ""))
        with self._lock:
            if refusal in self._refusals or (len(self._refusals) < _MOST and self._room.take(caller)):
                self._refusals[refusal] += 1
                return
            untold = Refusal(refusal.actor, "many addresses", caller[1] or None, _TOO_MANY)
            if untold not in self._untold and len(self._untold) >= _MOST:
                untold = Refusal("many", "many addresses", None, _TOO_MANY)
            self._untold[untold] += 1

    def note_acting(self, actor: str, account: str, address: str | None, done: str) -> None:
        """*actor*, an administrator, did something in the name of *account*."""
        act: Act = (actor, account, address, done[:200])
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
        self._untold_since = float("-inf")
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
            if self._untold and self._now() - self._untold_since >= _UNTOLD_EVERY_S:
                self._refusals += self._untold
                self._untold, self._untold_since = Counter(), self._now()
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
