"""Row groups of files in a store are those of the same files on this machine, by few requests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucket_fixture import bucket_secrets, bucket_settings
from idac.core.errors import StoreUnavailable
from idac.core.store import S3BucketStore
from idac.query.engines.parquet_files import ParquetFiles
from services.rgw import Bucket

ROWS, GROUP = 10_000, 1_000
COLUMNS = ["id", "ra", "name", "lists", "pair.s"]
GONE = (
    "Data of a table that the query uses can't be read at the moment. "
    "Run the query again; if it fails again, tell the operator."
)


class Counting(S3BucketStore):
    """A store that says what it was asked for."""

    asked: list[str]

    def read_range(self, key: str, start: int, length: int) -> bytes:
        self.asked.append("range")
        return super().read_range(key, start, length)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        self.asked.append(f"{len(ranges)} ranges")
        return super().read_ranges(key, ranges)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "id": np.arange(ROWS),
            "ra": rng.uniform(0, 360, ROWS),
            "name": pa.array([f"star {i % 40}" for i in range(ROWS)]).dictionary_encode(),
            "lists": pa.array([list(range(i % 5)) if i % 7 else None for i in range(ROWS)], pa.list_(pa.int32())),
            "pair.s": rng.normal(size=ROWS).astype(np.float32),
        }
    )


@pytest.fixture
def store(s3_bucket: Bucket, tmp_path: Path, table: pa.Table) -> Counting:
    secrets = bucket_secrets(tmp_path / "secrets", s3_bucket)
    found = Counting(s3_bucket.name, "dac", bucket_settings(s3_bucket), secrets)
    found.asked = []
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=GROUP)
    found.put_atomic("t.parquet", tmp_path / "t.parquet")
    return found


def test_any_row_groups_and_columns_are_the_local_ones(store: Counting, tmp_path: Path) -> None:
    there, here = ParquetFiles([store]), ParquetFiles()
    path, local = store.url("t.parquet"), str(tmp_path / "t.parquet")
    assert there.are_known([path])
    assert not there.are_local([path])
    assert not here.are_known([path])

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.lists(st.sampled_from(COLUMNS), unique=True))
    def agrees(groups: list[int], columns: list[str]) -> None:
        assert there.read(path, groups, columns).equals(here.read(local, groups, columns))

    agrees()


def test_chunks_that_are_wanted_are_fetched_at_once(store: Counting) -> None:
    files, path = ParquetFiles([store]), store.url("t.parquet")
    files.footer(path)
    store.asked.clear()
    several = list(files.iter_row_groups(path, [[2], [3], [7]], [["id", "lists"], ["id"], ["ra"]]))
    assert [t.column_names for t in several] == [["id", "lists"], ["id"], ["ra"]]
    assert [t.column(0)[0].as_py() for t in several[:2]] == [2_000, 3_000]
    assert store.asked == ["4 ranges"]


def test_a_file_that_is_gone_is_looked_for_again_the_next_time(store: Counting, tmp_path: Path) -> None:
    files, path = ParquetFiles([store]), store.url("t.parquet")
    files.read(path, [0], ["id"])
    store.delete("t.parquet")
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            files.read(path, [0], ["id"])
        assert caught.value.text == GONE
    store.put_atomic("t.parquet", tmp_path / "t.parquet")
    assert files.read(path, [9], ["id"]).num_rows == GROUP


FULL = """
import resource, sys
from pathlib import Path
from idac.core.errors import StoreUnavailable
from idac.query.engines.kept import Kept
from idac.query.engines.parquet_files import ParquetFiles
from idac.query.engines.plain_columns import PlainColumns
files, kept = ParquetFiles(), Kept(2**20)
plain = PlainColumns(files, kept)
for _ in range(3):
    list(plain.iter_rows(sys.argv[1], [0], ["a"]))
before, held = kept.bytes, []
files.forget(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
read = {
    "footer": lambda: files.footer(sys.argv[1]),
    "rows": lambda: files.read(sys.argv[1], [0], ["a"]),
    "plain": lambda: list(plain.iter_rows(sys.argv[1], [0], ["a"])),
}
for name in sys.argv[2:]:
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError:
        pass
    try:
        read[name]()
    except StoreUnavailable as error:
        print(error)
    assert kept.bytes == before > 0
    held.clear()
    read[name]()
"""


def test_too_many_open_files_are_not_told_as_unreadable_data(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.arange(100.0)}), tmp_path / "a.parquet", compression="none", use_dictionary=False)
    ways = ["footer", "rows", "plain"]
    told = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "a.parquet"), *ways], capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == [
        "The service has as many files open as it may. "
        "Run the query again in a moment; if it fails again, tell the operator."
    ] * len(ways)
