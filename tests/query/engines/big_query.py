"""Runs one query over a large table in a process of its own, and prints how much memory that took beyond a small one.

Arguments: folder, Parquet file, its number of rows, query. Prints JSON: rows of the answer, whether its first column is
in order, bytes of growth, error.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pyarrow.compute as pc

from bounds_tables import CROWD, asking_over, large_entry
from engine_fixture import small_engine
from idac.core.errors import UserError
from idac.query.engines.base import QueryLimits


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    folder, file, rows, adql = sys.argv[1:]
    with small_engine(Path(folder), **CROWD) as engine:
        asking = asking_over(engine, large_entry(Path(file), int(rows)))
        # Everything is loaded and every buffer of a place is there once.
        asking.ask("SELECT TOP 1 t FROM t.large ORDER BY t")
        before = peak_bytes()
        count, ordered, last, error = 0, True, None, None
        try:
            stream = engine.run(asking.compile(adql), QueryLimits(10**9, 600), owner="a", query_id="q")
            for batch in stream:
                count += batch.num_rows
                values = batch.column(0)
                in_batch = pc.all(pc.less_equal(values[:-1], values[1:]), min_count=0).as_py()
                ordered = ordered and in_batch and (last is None or last <= values[0].as_py())
                last = values[-1].as_py()
            stream.close()
        except UserError as caught:
            error = caught.text
    json.dump({"rows": count, "ordered": ordered, "growth": peak_bytes() - before, "error": error}, sys.stdout)


if __name__ == "__main__":
    main()
