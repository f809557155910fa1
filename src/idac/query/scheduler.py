"""Who runs next: places in two lanes, given round robin between owners, so that nobody's queue delays anyone else."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from idac.core.errors import Busy, Cancelled, ResourceExhausted

#: A call that may ask, by a number of seconds, to be made again after them.
type Callback = Callable[[], float | None]


@dataclass
class _Waiting:
    query_id: str
    ready: threading.Event = field(default_factory=threading.Event)
    place: int | None = None
    cancelled: bool = False


class Place:
    """The right to run in one place of a lane; given back once, by ``release`` or at the end of ``with``."""

    def __init__(self, scheduler: FairScheduler, lane: str, number: int) -> None:
        self.lane, self.number = lane, number
        self._scheduler = scheduler
        self._held = True
        self._lock = threading.Lock()

    def release(self) -> None:
        with self._lock:
            held, self._held = self._held, False
        if held:
            self._scheduler._give_back(self.lane, self.number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class FairScheduler:
    """*places* by lane; at most *max_queued* wait in all, and *max_per_owner* of one owner in a lane. Thread-safe."""

    def __init__(self, places: Mapping[str, int], max_queued: int, max_per_owner: int) -> None:
        self._lock = threading.Lock()
        self._free = {lane: deque(range(count)) for lane, count in places.items()}
        self._queues: dict[str, OrderedDict[str, deque[_Waiting]]] = {lane: OrderedDict() for lane in places}
        self._by_id: dict[str, _Waiting] = {}
        self._max_queued, self._max_per_owner = max_queued, max_per_owner
        self._closed = False

    def acquire(
        self, lane: str, owner: str, query_id: str, timeout_s: float, is_cancelled: Callable[[], bool] = lambda: False
    ) -> Place:
        """Wait for a place in *lane*.

        Raises Busy where too many wait already, Cancelled after ``cancel(query_id)``, ResourceExhausted when
        *timeout_s* has passed. *is_cancelled* tells of a cancel that came before there was anything to wake: whoever
        calls ``cancel`` makes it true first.
        """
        with self._lock:
            if self._closed:
                raise _stopping()
            if is_cancelled():
                raise _cancelled()
            free = self._free[lane]
            # Whoever waits goes first; a free place while somebody waits is on its way to them.
            if free and not self._queues[lane]:
                return Place(self, lane, free.popleft())
            self._refuse_too_many(lane, owner)
            waiting = _Waiting(query_id)
            self._queues[lane].setdefault(owner, deque()).append(waiting)
            self._by_id[query_id] = waiting
        waiting.ready.wait(timeout_s)
        return self._settle(lane, owner, waiting, timeout_s)

    def _refuse_too_many(self, lane: str, owner: str) -> None:
        own, everyone = len(self._queues[lane].get(owner, ())), len(self._by_id)
        if own < self._max_per_owner and everyone < self._max_queued:
            return
        raise Busy(
            "Too many queries are waiting at the moment."
            if own < self._max_per_owner
            else "Too many of your queries are waiting at the moment.",
            value=f"{everyone if own < self._max_per_owner else own} waiting",
            next_step="Try again in a minute, or submit the query as an asynchronous job.",
        )

    def _settle(self, lane: str, owner: str, waiting: _Waiting, timeout_s: float) -> Place:
        with self._lock:
            if self._by_id.get(waiting.query_id) is waiting:
                del self._by_id[waiting.query_id]
            if waiting.place is None:
                self._leave(lane, owner, waiting)
            number, cancelled, closed = waiting.place, waiting.cancelled, self._closed
        if cancelled or closed:
            if number is not None:
                self._give_back(lane, number)
            raise _cancelled() if cancelled else _stopping()
        if number is None:
            raise ResourceExhausted(
                "The query's time was over before it got its turn.",
                value=f"{timeout_s:g} s",
                next_step="Try again later, or submit it as an asynchronous job with a longer execution duration.",
            )
        return Place(self, lane, number)

    def _leave(self, lane: str, owner: str, waiting: _Waiting) -> None:
        queue = self._queues[lane].get(owner)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            if not queue:
                del self._queues[lane][owner]

    def _give_back(self, lane: str, number: int) -> None:
        with self._lock:
            queues = self._queues[lane]
            if not queues:
                self._free[lane].append(number)
                return
            owner, queue = next(iter(queues.items()))
            waiting = queue.popleft()
            if queue:
                queues.move_to_end(owner)  # their next query comes after everyone else's
            else:
                del queues[owner]
            waiting.place = number
            waiting.ready.set()

    def cancel(self, query_id: str) -> bool:
        """Stop a query that waits; False where none of that id does."""
        with self._lock:
            waiting = self._by_id.get(query_id)
            if waiting is None:
                return False
            waiting.cancelled = True
            waiting.ready.set()
            return True

    @property
    def waiting(self) -> int:
        with self._lock:
            return len(self._by_id)

    def waiting_in(self, lane: str) -> int:
        """How many wait for a place in *lane*."""
        with self._lock:
            return sum(map(len, self._queues[lane].values()))

    def close(self) -> None:
        """Send away everyone who waits, and whoever comes."""
        with self._lock:
            self._closed = True
            for waiting in self._by_id.values():
                waiting.ready.set()


def _cancelled() -> Cancelled:
    return Cancelled("The query was stopped while it waited for its turn.")


def _stopping() -> Busy:
    return Busy("This part of the service is stopping.", next_step="Try again in a minute.")


class Watchdog:
    """Calls back once a deadline has passed, from one thread that lives while there is something to watch."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._watched: dict[int, tuple[float, Callback]] = {}
        self._next = 0
        self._thread: threading.Thread | None = None

    def watch(self, seconds: float, callback: Callback) -> int:
        """Call *callback* in *seconds* unless ``forget`` comes first; a callback that returns a number of seconds is
        called again after them."""
        with self._condition:
            self._next += 1
            self._watched[self._next] = (time.monotonic() + seconds, callback)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="query-watchdog", daemon=True)
                self._thread.start()
            self._condition.notify()
            return self._next

    def forget(self, number: int) -> None:
        with self._condition:
            self._watched.pop(number, None)
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                if not self._watched:
                    self._condition.wait(timeout=5.0)
                if not self._watched:
                    self._thread = None
                    return
                number, (deadline, callback) = min(self._watched.items(), key=lambda item: item[1][0])
                remaining = deadline - time.monotonic()
                if remaining > 0:
                    self._condition.wait(timeout=remaining)
                    continue
                del self._watched[number]
            again = callback()
            if again is not None:
                with self._condition:
                    self._watched[number] = (time.monotonic() + again, callback)
