"""The archive's one truth: a small JSON that names the metadata of every schema and the version of every table."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from idac.core.errors import StoreUnavailable
from idac.core.rights import ReadRule

MANIFEST_KEY = "catalogs/manifest.json"
FORMAT = 1
#: Of a manifest with read rules: a version of idac that doesn't know them must not open what they close.
FORMAT_WITH_RULES = 2


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable set of a table's files, and what a query needs to know before it reads any of them."""

    id: str
    kind: Literal["hats", "plain"]
    #: Folder in the archive that holds the sidecars, and the data unless they are elsewhere.
    prefix: str
    #: Folder of the main catalogue under ``prefix``, or under ``location``.
    catalog: str
    rows: int
    bytes: int
    columns: int
    files: int
    published_at: str
    source: str
    #: Where the data are when they were registered where they stood: a folder or URL outside the archive.
    location: str | None = None
    ra_column: str | None = None
    dec_column: str | None = None
    id_column: str | None = None
    healpix_column: str | None = None
    margin_arcsec: float | None = None
    #: The schema's metadata as they were when this version was last the current one.
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Retired:
    """A folder or document that nothing names any more, kept until running queries have surely ended."""

    key: str
    at: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every published schema's metadata document and every table's versions, newest first. Keys are lower-case."""

    generation: str = "0"
    #: Content hash of each schema's metadata, by the schema's name in lower case.
    documents: Mapping[str, str] = field(default_factory=dict)
    #: Versions by ``schema.table`` in lower case; the first is the one that queries see.
    tables: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    retired: tuple[Retired, ...] = ()
    #: Read rules that publishers attached, by ``schema`` or ``schema.table`` in lower case.
    rules: Mapping[str, ReadRule] = field(default_factory=dict)

    def current(self, schema: str, table: str) -> Version | None:
        versions = self.tables.get(table_key(schema, table))
        return versions[0] if versions else None

    def advanced(self, **changes: Any) -> Manifest:
        """This manifest with *changes* and a generation that no other has had."""
        number = int(self.generation.partition("-")[0]) + 1
        return replace(self, generation=f"{number}-{secrets.token_hex(4)}", **changes)

    def to_json(self) -> bytes:
        data: dict[str, Any] = {
            "format": FORMAT_WITH_RULES if self.rules else FORMAT,
            "generation": self.generation,
            "documents": dict(self.documents),
            "tables": {name: [_plain(v) for v in versions] for name, versions in self.tables.items()},
            "retired": [asdict(r) for r in self.retired],
        }
        if self.rules:
            data["rules"] = {name: _plain_rule(rule) for name, rule in sorted(self.rules.items())}
        return json.dumps(data, indent=1).encode()


def _plain(version: Version) -> dict[str, Any]:
    return {key: value for key, value in asdict(version).items() if value is not None}


def _plain_rule(rule: ReadRule) -> dict[str, list[str]]:
    return {"groups": sorted(rule.groups), "rights": sorted(rule.rights)}


def _parse_rule(plain: Any) -> ReadRule:
    groups, rights = plain["groups"], plain["rights"]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in (groups, rights)):
        raise TypeError
    return ReadRule.of(groups, rights)


def table_key(schema: str, table: str) -> str:
    return f"{schema}.{table}".lower()


def parse_manifest(data: bytes) -> Manifest:
    """Raises StoreUnavailable where the bytes are no manifest of a form this version knows."""
    try:
        plain = json.loads(data)
        if plain["format"] not in (FORMAT, FORMAT_WITH_RULES):
            raise StoreUnavailable(
                "The archive was written by another version of idac.",
                value=f"manifest format {plain['format']}",
                allowed=f"formats {FORMAT} and {FORMAT_WITH_RULES}",
                next_step="Use the version of idac that published the tables, or a newer one.",
            )
        return Manifest(
            plain["generation"],
            plain["documents"],
            {name: tuple(Version(**v) for v in versions) for name, versions in plain["tables"].items()},
            tuple(Retired(**r) for r in plain["retired"]),
            {name: _parse_rule(rule) for name, rule in plain["rules"].items()}
            if plain["format"] == FORMAT_WITH_RULES
            else {},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreUnavailable(
            "The archive's manifest is damaged.",
            allowed="the JSON file that idac writes",
            next_step="Restore catalogs/manifest.json of the archive from a backup.",
        ) from None
