"""dac.yaml becomes the objects that the parts are made of."""

from __future__ import annotations

from pathlib import Path

from idac.catalogs.archive import Archive
from idac.core.database import Database, open_database
from idac.core.loading import Loaded
from idac.core.secrets import SecretRef, open_secrets
from idac.core.store import S3BucketStore, Store, open_store
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.wiring.settings import DacSettings


def open_state(loaded: Loaded[DacSettings]) -> Database:
    """The state database."""
    url = loaded.settings.state.database
    if isinstance(url, SecretRef):
        url = open_secrets(loaded.settings.secrets, loaded.folder).read(url)
    return open_database(url, loaded.folder)


def open_archive(loaded: Loaded[DacSettings], database: Database | None = None) -> Archive:
    """The archive of published tables; *database* where the state database is open already."""
    store = _store(loaded, loaded.settings.archive.location)
    return Archive(store, database or open_state(loaded), loaded.settings.catalogs)


def open_results(loaded: Loaded[DacSettings]) -> Store:
    """Where results and uploads of asynchronous queries wait."""
    return _store(loaded, loaded.settings.results.location)


def open_engine(loaded: Loaded[DacSettings], scratch: Path) -> DuckDBEngine:
    """The embedded engine, which may read the archive, waiting uploads and *scratch*, and nothing else."""
    settings = loaded.settings
    stores = [_store(loaded, place.location) for place in (settings.archive, settings.results)]
    readable = [str(scratch), *(store.location for store in stores)]
    remote = [store for store in stores if isinstance(store, S3BucketStore)]
    return DuckDBEngine(settings.engine, scratch, readable=readable, stores=remote)


def _store(loaded: Loaded[DacSettings], location: str) -> Store:
    secrets = open_secrets(loaded.settings.secrets, loaded.folder)
    return open_store(location, loaded.settings.stores, secrets, loaded.folder)
