"""The ``engine`` section of dac.yaml: how much of the machine queries may use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from idac.core import machine
from idac.core.settings import Section


def _default_memory_gib() -> float:
    """Half of the machine's memory: the other half is for the page cache, which scans live on."""
    return max(1.0, round(machine.memory_bytes() / 2 / 2**30, 1))


class DuckDBSettings(Section):
    """The embedded engine. Each query has a place of its own with its share of memory; no query sees another's."""

    memory_gib: Annotated[float, Field(ge=0.5, le=4096)] = Field(default_factory=_default_memory_gib)
    """Memory of all queries together, in GiB. Default: half of the machine's. Buffers of results come on top."""

    kept_gib: Annotated[float, Field(ge=0, le=4096)] = Field(default_factory=lambda: _default_memory_gib() / 8)
    """Memory for what was read lately, in GiB, beside memory_gib. Half is for row groups where people look most: cones
    and look-ups then decode nothing, and touch no object store. The other is for columns of files on this machine that
    are summed up again and again, where queries have at most four threads. Default: a sixteenth of the machine's
    memory."""

    threads: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=machine.processors)
    """Processors that one heavy query may use. Default: all. Where files in a store are read, each query may have 16
    threads, if there is memory for them: most of them wait for the store and not for a processor."""

    interactive_places: Annotated[int, Field(ge=1, le=64)] = 4
    """Small queries (cones, look-ups, TOP) that run at once. They have places of their own, so that heavy work never
    makes them wait."""

    heavy_places: Annotated[int, Field(ge=1, le=64)] = 2
    """Large queries (scans, cross-matches) that run at once; each has an equal share of three quarters of the
    memory."""

    interactive_rows: Annotated[int, Field(ge=1)] = 3_000_000
    """Rows to be read up to which a query counts as small."""

    max_queued: Annotated[int, Field(ge=1)] = 400
    """Queries that may wait for a place before more are refused with 503."""

    max_queued_per_owner: Annotated[int, Field(ge=1)] = 50
    """Of those, queries of one caller (anonymous ones are told apart by address), so that nobody can fill the queue
    that all share."""

    spill: Path | None = None
    """Folder for what does not fit in memory. Default: a folder of the system's temporary one. Fast local disk pays."""

    spill_gib: Annotated[float, Field(gt=0)] = 100.0
    """Disk that one query may spill to, in GiB."""
