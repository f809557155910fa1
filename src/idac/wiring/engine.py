"""The engine that answers queries, apart from the rest: commands that publish don't load it."""

from __future__ import annotations

from pathlib import Path

from idac.core.loading import Loaded
from idac.core.store import S3BucketStore
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.wiring.build import store_at
from idac.wiring.settings import DacSettings


def open_engine(loaded: Loaded[DacSettings], scratch: Path) -> DuckDBEngine:
    """The embedded engine, which may read the archive, waiting uploads and *scratch*, and nothing else."""
    settings = loaded.settings
    stores = [store_at(loaded, place.location) for place in (settings.archive, settings.results)]
    readable = [str(scratch), *(store.location for store in stores)]
    remote = [store for store in stores if isinstance(store, S3BucketStore)]
    return DuckDBEngine(settings.engine, scratch, readable=readable, stores=remote)
