"""dac.yaml becomes the objects that the parts are made of."""

from __future__ import annotations

from idac.catalogs.archive import Archive
from idac.core.database import Database, open_database
from idac.core.loading import Loaded
from idac.core.secrets import SecretRef, open_secrets
from idac.core.store import Store, open_store
from idac.wiring.settings import DacSettings


def open_state(loaded: Loaded[DacSettings]) -> Database:
    """The state database."""
    url = loaded.settings.state.database
    if isinstance(url, SecretRef):
        url = open_secrets(loaded.settings.secrets, loaded.folder).read(url)
    return open_database(url, loaded.folder)


def open_archive(loaded: Loaded[DacSettings], database: Database | None = None) -> Archive:
    """The archive of published tables; *database* where the state database is open already."""
    store = store_at(loaded, loaded.settings.archive.location)
    return Archive(store, database or open_state(loaded), loaded.settings.catalogs)


def open_results(loaded: Loaded[DacSettings]) -> Store:
    """Where results and uploads of asynchronous queries wait."""
    return store_at(loaded, loaded.settings.results.location)


def store_at(loaded: Loaded[DacSettings], location: str) -> Store:
    """The folder or bucket that dac.yaml names *location*."""
    secrets = open_secrets(loaded.settings.secrets, loaded.folder)
    return open_store(location, loaded.settings.stores, secrets, loaded.folder)
