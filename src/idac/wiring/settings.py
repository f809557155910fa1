"""dac.yaml as a whole: every part's section, and what belongs to no part."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from idac import __version__
from idac.catalogs.settings import CatalogsSettings
from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.core.secrets import SecretRef, SecretsSettings
from idac.core.settings import Section
from idac.core.store import StoreSettings
from idac.identity.settings import IdentitySettings
from idac.jobs.settings import JobsSettings
from idac.query.engines.duckdb.settings import DuckDBSettings
from idac.query.settings import QuerySettings
from idac.web.settings import ServerSettings

type Part = Literal["query", "jobs"]


class CentreSettings(Section):
    """Who runs this centre: shown to people, and in the documents that clients read."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=40)] = "dac"
    """Short name, in lower-case letters, digits and hyphens; part of identifiers."""

    title: str = "Data Access Centre"
    """Name for people."""

    publisher: str = ""
    """Institute that answers for the data. Told with every result."""

    contact_email: str = ""
    """Address for questions. Shown to everyone, and told with every result."""

    def origin(self) -> tuple[tuple[str, str, str], ...]:
        """INFO elements of a result, named as IVOA's note on the origin of data has them (DataOrigin 1.1)."""
        known = (("publisher", self.publisher), ("contact", self.contact_email))
        told = [(name, value, "") for name, value in known if value]
        return (*told, ("server_software", f"idac {__version__}", ""))


class ArchiveSettings(Section):
    """Where published tables are."""

    location: str = "./archive"
    """A folder, relative to dac.yaml, or ``s3://bucket/prefix``. Every process of the centre reads it."""


class ResultsSettings(Section):
    """Where results of asynchronous queries and uploads wait."""

    location: str = "./results"
    """A folder, relative to dac.yaml, or ``s3://bucket/prefix``. A folder must be seen by all processes."""


class StateSettings(Section):
    """The state database: jobs, users, groups and tokens."""

    database: str | SecretRef = "sqlite:///state.db"
    """``sqlite:///file`` (relative to dac.yaml) on one machine, ``postgresql://user:password@host/name`` where several
    share it. A URL with a password belongs in a secret: ``{secret: state-database}``."""


class DacSettings(Section):
    """A Data Access Centre, in one file."""

    centre: CentreSettings = CentreSettings()
    parts: tuple[Part, ...] = ("query", "jobs")
    """Parts that ``idac up`` runs: ``query`` answers requests, ``jobs`` works off asynchronous queries."""

    server: ServerSettings = ServerSettings()
    archive: ArchiveSettings = ArchiveSettings()
    results: ResultsSettings = ResultsSettings()
    state: StateSettings = StateSettings()
    stores: dict[str, StoreSettings] = Field(default_factory=dict)
    """How to reach S3 buckets, by bucket name."""

    secrets: SecretsSettings = SecretsSettings()
    identity: IdentitySettings = IdentitySettings()
    catalogs: CatalogsSettings = CatalogsSettings()
    query: QuerySettings = QuerySettings()
    engine: DuckDBSettings = DuckDBSettings()
    jobs: JobsSettings = JobsSettings()

    @model_validator(mode="after")
    def _rights_are_not_public(self) -> DacSettings:
        public = {table.lower() for table, groups in self.catalogs.read.items() if PUBLIC in groups}
        for name, right in self.identity.rights.items():
            for table in right.tables:
                if table.lower() in public:
                    raise ValueError(f"must not open {table} to the public, which needs the data right {name}")
        return self

    def read_policy(self) -> RightsPolicy:
        """Who may read what: the groups of catalogs.read and the holders of data rights together."""
        base = self.catalogs.rights()
        rules = dict(base.rules)
        for name, right in self.identity.rights.items():
            for table in right.tables:
                rule = rules.get(table.lower(), ReadRule.of(()))
                rules[table.lower()] = ReadRule(rule.groups, rule.rights | {name})
        asking = {name: right.ask for name, right in self.identity.rights.items() if right.ask}
        return replace(base, rules=rules, how_to_ask=asking, has_log_in=self.identity.enabled)
