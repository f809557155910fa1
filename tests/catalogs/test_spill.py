"""What an ingest spills: within its bound as the system counts it, and gone after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from archive_fixture import build_archive, open_archive, publish, small_settings, star_table

_INGEST = """
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from archive_fixture import open_archive, small_settings
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.publishing import Publisher, Rows
from idac.tables.arrow import arrow_schema
from idac.tables.model import DOUBLE, LONG, Column, Schema, Table

folder, total, waits = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "waits"
deg = {"unit": "deg"}
columns = (Column("id", LONG), Column("ra", DOUBLE, **deg), Column("dec", DOUBLE, **deg)) + tuple(
    Column(f"flux_{i}", DOUBLE) for i in range(3)
)


def batches(size):
    rng = np.random.default_rng(5)
    for start in range(0, total, size):
        n = min(size, total - start)
        values = [np.arange(start, start + n), rng.uniform(0, 360, n), rng.uniform(-90, 90, n), *rng.random((3, n))]
        yield pa.record_batch([pa.array(v) for v in values], schema=arrow_schema(columns))
    if waits:
        print("read", flush=True)
        sys.stdin.read()


ingest = {"memory_gib": 0.6, "spill": folder / "spill", "rows_per_file": 500_000, "row_group_rows": 20_480}
archive = open_archive(folder, small_settings(ingest=ingest))
rows = Rows(Table("demo", "stars", columns), batches, total, "made up", IngestChoices(id="id"))
print(Publisher(archive).publish(Schema("demo", ()), [rows])[0].rows)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def start_ingest(folder: Path, rows: int, what: str) -> subprocess.Popen[str]:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{_INGEST}"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(rows), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_rows_beyond_the_bound_are_sorted_within_it_as_the_system_counts_resident_memory(tmp_path: Path) -> None:
    """The bound is 0.6 GiB, of which rows may take 250 MB, half of it while others are sorted; these take 280 MB."""
    out, _ = start_ingest(tmp_path, 5_000_000, "").communicate()
    rows, resident_kib = (int(line) for line in out.split())
    assert rows == 5_000_000
    assert resident_kib << 10 <= 0.6 * 2**30


def test_what_a_killed_ingest_spilled_goes_with_the_next_one(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    process = start_ingest(tmp_path, 5_000_000, "waits")
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "read\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    (left,) = spill.glob("rows-*")
    assert (left / "rows").stat().st_size > 50 << 20
    archive = open_archive(tmp_path, small_settings(ingest={"spill": spill}))
    publish(archive, "demo.stars", star_table(2_000))
    assert list(spill.iterdir()) == []


def test_an_ingest_that_spills_into_a_folder_of_its_own_leaves_nothing_there(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    build_archive(tmp_path, {"demo.stars": star_table(2_000)}, small_settings(ingest={"spill": spill}))
    assert list(spill.iterdir()) == []
