"""Running work stopped when its caller may have it no longer: a revoked token, a frozen account, a right that ended."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from idac.core.errors import AccessDenied, NotAuthenticated, StoreUnavailable, UserError
from idac.core.principal import Principal
from idac.identity.directory import Directory

log = logging.getLogger(__name__)

#: Looks at one piece of work that may fail one after another before it counts as one that its caller may not have.
_FAILED_LOOKS = 3


@dataclass(frozen=True, eq=False)
class _Watched:
    principal: Principal
    check: Callable[[Principal], object]
    stop: Callable[[UserError], None]


class CallerWatch:
    """Looks every *every_s* seconds at all callers whose work is running; one look for all work of one caller."""

    def __init__(self, directory: Directory, every_s: float) -> None:
        self._directory = directory
        self._every_s = every_s
        self._watched: set[_Watched] = set()
        self._failed: Counter[_Watched] = Counter()  # looks that failed, one after another; the watching thread's alone
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def add(
        self, principal: Principal, check: Callable[[Principal], object], stop: Callable[[UserError], None]
    ) -> Callable[[], None]:
        """Watch a piece of work until the function that is returned is called.

        *check* raises AccessDenied where the caller, as of now, may not have it; then *stop* is called with the reason,
        once, from another thread.
        """
        entry = _Watched(principal, check, stop)
        with self._lock:
            self._watched.add(entry)

        def remove() -> None:
            with self._lock:
                self._watched.discard(entry)

        return remove

    def start(self) -> None:
        self._thread = threading.Thread(target=self._go_on, name="idac-caller-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(10)

    def look(self) -> None:
        """One look at everyone; where looking at one fails, the others are looked at all the same."""
        with self._lock:
            entries = list(self._watched)
        failed, found = self._failed, dict[Principal, Principal | UserError]()
        self._failed = Counter()
        for entry in entries:
            try:
                if entry.principal not in found:
                    found[entry.principal] = self._now(entry.principal)
                self._judge(entry, found[entry.principal])
            except StoreUnavailable:
                raise
            except Exception:
                log.exception("running work could not be looked at", extra={"caller": entry.principal.name})
                self._failed[entry] = failed[entry] + 1
                if self._failed[entry] >= _FAILED_LOOKS:
                    self._end(entry, AccessDenied("Nobody can tell whether you may have this any more."))

    def _now(self, principal: Principal) -> Principal | UserError:
        try:
            return self._directory.current(principal)
        except (AccessDenied, NotAuthenticated) as error:
            return error

    def _judge(self, entry: _Watched, now: Principal | UserError) -> None:
        reason: UserError
        try:
            if isinstance(now, Principal):
                entry.check(now)
                return
            reason = now
        except (AccessDenied, NotAuthenticated) as error:
            reason = error
        except UserError:
            return  # the work itself will tell what is wrong with it
        self._end(entry, reason)

    def _end(self, entry: _Watched, reason: UserError) -> None:
        with self._lock:
            if entry not in self._watched:
                return
            self._watched.discard(entry)
        log.info("stopping work of a caller who may have it no longer", extra={"caller": entry.principal.name})
        try:
            entry.stop(reason)
        except Exception:
            log.exception("running work could not be stopped", extra={"caller": entry.principal.name})

    def _go_on(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self.look()
            except StoreUnavailable:
                # Nobody's token can be revoked in a database that does not answer; the next look tells.
                log.warning("running work is not looked at: the state database does not answer")
            except Exception:
                log.exception("running work could not be looked at")
