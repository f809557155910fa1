"""What two callers do in one moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from idac.core.database import Database
from idac.identity.store import IdentityStore, Records
from services.waiting import until


def during(
    store: IdentityStore,
    first: Callable[[Records], object],
    second: Callable[[], object],
    last: Callable[[Records], object] = lambda _: None,
) -> Future[object]:
    """Do *first* in a transaction that ends, with *last*, only once *second* waits for it; and then *second*."""
    with ThreadPoolExecutor(1) as pool:
        with store.write() as records:
            first(records)
            later = pool.submit(second)
            if not store.database.is_sqlite:  # which has one writer, so that nobody begins before this one ends
                until(lambda: later.done() or _someone_waits(store.database))
            last(records)
        return later


def _someone_waits(database: Database) -> bool:
    with database.read() as connection:
        return bool(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one())
