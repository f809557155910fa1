"""How many queries one caller runs at once: further ones wait for the caller's own, and take no place from others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from idac.core.errors import AccessDenied, Cancelled, ResourceExhausted, TooOften
from idac.core.quota import Quota

#: Seconds after which a caller whose queries all wait may look again; nobody knows when one of them will end.
_LOOK_AGAIN_S = 10


@dataclass(eq=False)
class _Waiting:
    query_id: str
    ready: threading.Event = field(default_factory=threading.Event)
    given: bool = False
    cancelled: bool = False


@dataclass
class _Owner:
    running: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)


class Turns:
    """Thread-safe. In one process of *processes* each caller has that part of the quota, rounded up."""

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._lock = threading.Lock()
        self._owners: dict[str, _Owner] = {}
        self._by_id: dict[str, _Waiting] = {}

    def take(self, owner: str, quota: Quota, query_id: str, timeout_s: float) -> Callable[[], None]:
        """Wait until *owner* runs fewer queries than the quota has; returns what gives the turn back, once.

        Raises AccessDenied where the quota is 0, TooOften where too many wait already, Cancelled after
        ``cancel(query_id)``, ResourceExhausted when *timeout_s* has passed.
        """
        if quota.concurrent is None:
            return lambda: None
        if quota.concurrent == 0:
            raise _shut()
        most = -(-quota.concurrent // self._processes)
        with self._lock:
            mine = self._owners.setdefault(owner, _Owner())
            if mine.running < most:
                mine.running += 1
                return self._giver(owner)
            if quota.queued is not None and len(mine.waiting) >= quota.queued:
                raise self._too_many(quota.concurrent, len(mine.waiting), quota.queued)
            waiting = _Waiting(query_id)
            mine.waiting.append(waiting)
            self._by_id[query_id] = waiting
        waiting.ready.wait(timeout_s)
        return self._settle(owner, waiting, timeout_s)

    def cancel(self, query_id: str) -> None:
        """Stop a query that waits for its turn."""
        with self._lock:
            waiting = self._by_id.get(query_id)
            if waiting is not None:
                waiting.cancelled = True
                waiting.ready.set()

    def use(self, owner: str) -> tuple[int, int]:
        """How many queries of *owner* run and wait in this process."""
        with self._lock:
            mine = self._owners.get(owner)
            return (mine.running, len(mine.waiting)) if mine is not None else (0, 0)

    def _settle(self, owner: str, waiting: _Waiting, timeout_s: float) -> Callable[[], None]:
        with self._lock:
            del self._by_id[waiting.query_id]
            if not waiting.given:
                self._owners[owner].waiting.remove(waiting)
                self._forget(owner)
        give = self._giver(owner) if waiting.given else None
        if waiting.cancelled:
            if give is not None:
                give()
            raise Cancelled("The query was stopped while it waited for its turn.")
        if give is None:
            raise ResourceExhausted(
                "The query's time was over while your other queries ran.",
                value=f"{timeout_s:g} s",
                next_step="Run fewer queries at once, or submit them as asynchronous jobs.",
            )
        return give

    def _giver(self, owner: str) -> Callable[[], None]:
        once = threading.Lock()

        def give() -> None:
            if once.acquire(blocking=False):
                self._give_back(owner)

        return give

    def _give_back(self, owner: str) -> None:
        with self._lock:
            mine = self._owners[owner]
            if mine.waiting:
                following = mine.waiting.popleft()  # the turn goes over to it
                following.given = True
                following.ready.set()
            else:
                mine.running -= 1
                self._forget(owner)

    def _forget(self, owner: str) -> None:
        mine = self._owners[owner]
        if not mine.running and not mine.waiting:
            del self._owners[owner]

    def _too_many(self, concurrent: int, waiting: int, queued: int) -> TooOften:
        return TooOften(
            "Too many of your queries are waiting.",
            value=f"{waiting} waiting",
            allowed=f"{concurrent} that run at once and {queued} that wait, your quota",
            next_step="Wait until one of them has ended. /auth/quota shows your limits.",
            retry_after_s=_LOOK_AGAIN_S,
        )


def _shut() -> AccessDenied:
    """No turn ever comes: whoever waited would wait for nothing."""
    return AccessDenied(
        "Your quota lets you run no queries here.",
        value="0 at once",
        next_step="Ask the operator of this centre. /auth/quota shows your limits.",
    )
