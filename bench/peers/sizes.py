"""How large a run is: rows of the tables, rows of the results, and how often each thing is measured."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields, replace


@dataclass(frozen=True)
class Sizes:
    """Every number that a run can be given; ``FULL`` is the published benchmark, ``QUICK`` its ten-minute form."""

    rows: int = 10_000_000
    """Rows of the survey table: half of them in a deep field of 10 deg², half over 300 deg²."""

    match_rows: int = 1_000_000
    """Rows of the table that is cross-matched with it."""

    export_rows: int = 1_000_000
    """Rows of an export."""

    pyvo_rows: int = 500_000
    """Rows that pyvo fetches."""

    rounds: int = 7
    """Times that the whole list is gone through, the peers in turn."""

    small_repeats: int = 15
    """Small queries of a kind in one round, each at a place of its own."""

    ingest_rounds: int = 2
    """Times that the survey is ingested from CSV by each peer."""

    load_seconds: int = 15
    """Length of one burst of many clients."""

    clients: int = 16
    """Clients of a burst."""


FULL = Sizes()
QUICK = Sizes(
    rows=1_000_000,
    match_rows=100_000,
    export_rows=1_000_000,
    pyvo_rows=100_000,
    rounds=3,
    small_repeats=10,
    ingest_rounds=1,
    load_seconds=6,
)


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """``--quick`` and one option for each number."""
    parser.add_argument("--quick", action="store_true", help="the ten-minute form: a million rows, fewer rounds")
    for field in fields(Sizes):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=_count, help=f"default: {getattr(FULL, field.name)}", metavar="N")


def _count(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def chosen_sizes(options: argparse.Namespace) -> Sizes:
    """What the command line says, over the form it names. An export is never longer than the table."""
    sizes = QUICK if options.quick else FULL
    given = {f.name: getattr(options, f.name) for f in fields(Sizes) if getattr(options, f.name) is not None}
    sizes = replace(sizes, **given)
    return replace(sizes, export_rows=min(sizes.export_rows, sizes.rows), pyvo_rows=min(sizes.pyvo_rows, sizes.rows))


def as_json(sizes: Sizes) -> dict[str, int]:
    return asdict(sizes)
