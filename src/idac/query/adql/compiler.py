"""Resolved queries kept by text: clients ask the same question again, and every question is parsed for its cost too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from threading import Lock

from idac.catalogs.snapshot import CatalogSnapshot
from idac.core.principal import Principal
from idac.core.rights import RightsPolicy
from idac.query.adql.resolve import check_tables, resolve_query
from idac.query.resolved import ResolvedQuery

#: Queries kept, and the length above which a text is not worth the memory.
_KEPT = 512
_LONGEST = 8192


class QueryCompiler:
    """Resolves ADQL, and remembers. Thread-safe.

    A resolved query is kept for one picture of the archive and one caller's groups and rights, so that neither a new
    version of a table nor another caller ever meets it. Queries over uploads are not kept: their tables are gone with
    the request.
    """

    def __init__(self, rights: RightsPolicy) -> None:
        self.rights = rights
        self._kept: OrderedDict[tuple[object, ...], ResolvedQuery] = OrderedDict()
        self._lock = Lock()

    def compile(self, text: str, snapshot: CatalogSnapshot, principal: Principal) -> ResolvedQuery:
        """The resolved query; raises what ``resolve_query`` raises."""
        uploads = any(schema == "tap_upload" for schema, _ in snapshot.entries)
        if uploads or len(text) > _LONGEST:
            return resolve_query(text, snapshot, principal, self.rights_at(snapshot))
        key = (text, snapshot.generation, principal.groups, principal.rights, principal.is_admin)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        resolved = resolve_query(text, snapshot, principal, self.rights_at(snapshot))
        with self._lock:
            self._kept[key] = resolved
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return resolved

    def check_tables(
        self, text: str, snapshot: CatalogSnapshot, principal: Principal, uploads: Collection[str]
    ) -> None:
        """Refuse a query that is wrong whatever its *uploads* hold, of which only the names are known."""
        check_tables(text, snapshot, principal, self.rights_at(snapshot), uploads)

    def rights_at(self, snapshot: CatalogSnapshot) -> RightsPolicy:
        """The rules of dac.yaml, and those that were published when *snapshot* was."""
        return self.rights.with_published(snapshot.rules)
