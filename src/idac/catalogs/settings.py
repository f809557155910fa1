"""The ``catalogs`` section of dac.yaml: who may read which table, how tables are written, how long versions stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from idac.core import machine
from idac.core.rights import ReadRule, RightsPolicy
from idac.core.settings import Section

#: Memory of the process before it holds any row: the interpreter and its libraries, as measured.
_PROCESS_BYTES = 300 << 20
#: A block of text and the rows made of it, as measured.
_PARSER_BYTES = 16 << 20


def _default_memory_gib() -> float:
    return min(max(round(machine.memory_bytes() / 4 / 2**30, 1), 1.0), 32.0)


class IngestSettings(Section):
    """How ``idac catalog add`` and ``replace`` turn a source into a HATS catalogue."""

    memory_gib: Annotated[float, Field(ge=0.5, le=4096)] = Field(default_factory=_default_memory_gib)
    """Memory that an ingest may use, in GiB; what does not fit is sorted on disk, which takes longer. Default: a
    quarter of the machine's (of a container's, where it has a bound), at most 32: a service has room beside it."""

    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads that sort and write. Default: the processors of the machine, at most 16."""

    spill: Path | None = None
    """Folder for rows that do not fit in memory, and for new versions on their way to an object store; needs about the
    size of the table, uncompressed. Default: beside the new version, or the system's temporary folder."""

    rows_per_file: Annotated[int, Field(ge=1_000, le=50_000_000)] = 1_000_000
    """Rows above which a HEALPix pixel is divided into four files. With a million, files hold 200 000 to 1 000 000
    rows, the range where both a cone and a scan are fastest; wide tables get fewer rows a file by themselves."""

    row_group_rows: Annotated[int, Field(ge=1_024, le=1_000_000)] = 20_480
    """Rows of a Parquet row group, the least that a query reads. Smaller makes cones over crowded fields faster and
    scans slower."""

    margin_arcsec: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """Width of the margin cache, in arcseconds: the largest radius at which LSDB cross-matches are complete; 0 leaves
    the cache out. idac's own cross-matches do not depend on it."""

    staging_lease_s: Annotated[int, Field(ge=60)] = 3600
    """Seconds without a sign of life after which the unfinished work of a process on another machine is cleared away.
    On the same machine a dead process is recognised at once."""

    @property
    def worker_count(self) -> int:
        return self.workers or min(machine.processors(), 16)

    @property
    def parser_count(self) -> int:
        """Threads that parse text: as many as a tenth of the memory holds blocks for."""
        return max(1, min(self.worker_count, self.memory_bytes // 10 // _PARSER_BYTES))

    @property
    def memory_bytes(self) -> int:
        """What rows may take: the bound without what the process needs for itself."""
        bound = int(self.memory_gib * 2**30)
        return max(bound - _PROCESS_BYTES, bound // 4)


class CatalogsSettings(Section):
    """The archive's tables."""

    read: dict[str, list[str]] = Field(default_factory=dict)
    """Groups that may read a schema (``dp2``) or one of its tables (``dp2.Object``); ``public`` is everyone, an empty
    list only administrators. A table's own rule replaces its schema's."""

    default_read: list[str] = Field(default_factory=list)
    """Groups that may read whatever neither ``read`` nor a data right names; ``public`` is everyone. Without this line
    only administrators may, so that a forgotten rule hides data and never shows it."""

    publishers_narrow: bool = False
    """Let what publishers attach with ``idac catalog rights`` only narrow ``default_read``. Without it, their rule
    stands in its place where dac.yaml says nothing; what dac.yaml does say they can only narrow, either way."""

    ingest: IngestSettings = IngestSettings()

    keep_versions: Annotated[int, Field(ge=0, le=100)] = 1
    """Earlier versions of a table that ``replace`` keeps for ``rollback``. Each costs the disk space of the table."""

    version_grace_s: Annotated[int, Field(ge=0)] = 6 * 3600
    """Seconds for which the files of a version stay after nothing names it any more, so that running queries finish.
    Make it longer than the longest query allowed."""

    refresh_s: Annotated[float, Field(ge=0, le=5)] = 1.0
    """Seconds between looks at the archive for something newly published; each costs one small read. Not more than 5,
    so that what a publisher closes is closed by then."""

    @field_validator("read")
    @classmethod
    def _one_rule_each(cls, read: dict[str, list[str]]) -> dict[str, list[str]]:
        known: dict[str, str] = {}
        for name in read:
            first = known.setdefault(name.lower(), name)
            if first != name:
                raise ValueError(f"must not have two rules for one table, {first} and {name}: case makes no difference")
        return read

    def rights(self) -> RightsPolicy:
        """The rules of this section as the policy that services ask."""
        rules = {name.lower(): ReadRule.of(groups) for name, groups in self.read.items()}
        return RightsPolicy(rules, ReadRule.of(self.default_read), publishers_narrow=self.publishers_narrow)
