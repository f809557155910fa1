"""What publishers say of groups, for identity, which knows of no archive."""

from __future__ import annotations

import threading

from idac.catalogs.access import named_groups
from idac.catalogs.archive import Archive
from idac.core.errors import StoreUnavailable


class PublishedGroups:
    """Groups that publishers let read something. Thread-safe."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._looking = threading.Lock()
        #: The generation of the archive that was seen last, and the groups that its rules name.
        self._seen: tuple[str, frozenset[str]] | None = None

    def now(self) -> frozenset[str]:
        """As of this moment. Raises StoreUnavailable where the archive does not answer."""
        return named_groups(self._archive.snapshot(fresh=True).rules)

    def lately(self) -> frozenset[str]:
        """As of ``catalogs.refresh_s`` ago, or of when the archive last answered; StoreUnavailable before it ever did.

        Every request with a credential may ask. One thread looks at a time, and the others go by what it saw before:
        they hold connections of the state database, which an archive that does not answer must not keep.
        """
        if self._looking.acquire(blocking=self._seen is None):
            try:
                self._look()
            finally:
                self._looking.release()
        assert self._seen is not None  # noqa: S101  the first look sees something or raises
        return self._seen[1]

    def _look(self) -> None:
        try:
            snapshot = self._archive.snapshot()
        except StoreUnavailable:
            if self._seen is None:
                raise
            return  # no table can be read either
        if self._seen is None or self._seen[0] != snapshot.generation:
            self._seen = snapshot.generation, named_groups(snapshot.rules)
