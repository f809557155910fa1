"""Work on the pieces of a stream by several threads, with the results in the order of the pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from idac.core import machine

#: Arrow and numpy let other threads run while they work, so that a long result uses several cores. More than four
#: would only take them from other queries: the engine that makes the rows needs some as well.
_THREADS = min(4, machine.processors())


@cache
def _pool() -> ThreadPoolExecutor:
    """Shared by all results of the process, so that many at once do not mean many threads."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="table-writer")


def map_ordered[T, R](work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``work(item)`` for each item, in their order. At most a handful of items are in hand at any time.

    The first is done in the caller's thread: a small result needs no other.
    """
    iterator = iter(items)
    for item in iterator:
        yield work(item)
        break
    pending: deque[Future[R]] = deque()
    try:
        for item in iterator:
            pending.append(_pool().submit(work, item))
            if len(pending) > _THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
