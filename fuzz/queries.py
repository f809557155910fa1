"""Runs many random queries and says what became of them: ``make fuzz``, or with FUZZ_CASES=1000 FUZZ_SEED=7.

Ends with 1 where a query ended in anything but an answer or an error for its author. Needs the tests' folder on
PYTHONPATH.
"""

# ruff: noqa: T201  It talks to a terminal.

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from query.adql.corpus import VALID
from query_fuzz import Outcomes, open_asking, queries, run_query

_EVERY = 1_000
_SHOWN = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="Queries to run.")
    parser.add_argument("--seed", type=int, default=1, help="The same seed makes the same queries.")
    parser.add_argument("--faults", type=Path, help="Write the queries that ended in a fault to this file.")
    given = parser.parse_args()
    outcomes, begun = Outcomes(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="idac-fuzz-") as name, open_asking(Path(name)) as asking:
        for number, text in enumerate(queries(given.seed, given.cases, Path(name), VALID), 1):
            run_query(asking, text, outcomes)
            if number % _EVERY == 0:
                rate = number / (time.monotonic() - begun)
                print(f"{number:,} queries, {rate:.0f}/s, {len(outcomes.faults)} faults", flush=True)
    for kind, count in outcomes.counts.most_common():
        print(f"{count:>9,}  {kind}")
    for text, what in outcomes.faults[:_SHOWN]:
        print(f"\n{text}\n{what}")
    if given.faults is not None:
        given.faults.write_text("\n\n".join(f"{text}\n{what}" for text, what in outcomes.faults))
    return 1 if outcomes.faults else 0


if __name__ == "__main__":
    sys.exit(main())
