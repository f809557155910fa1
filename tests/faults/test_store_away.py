"""An S3 service that is away: publishing and queries say so in a sentence, and nothing is left of the attempt."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from archive_fixture import star_table
from services.desk import Desk
from services.programs import free_port

AWAY = "The store of this centre does not answer. Try again in a minute; if it lasts, tell the operator."
CONFIGURATION = """\
archive: {{location: "s3://nowhere/dac"}}
stores:
  nowhere: {{endpoint: "http://127.0.0.1:{port}", allow_http: true, timeout_s: 2}}
catalogs:
  default_read: [public]
  ingest: {{spill: spill}}
"""


@pytest.fixture
def cut_off(desk: Desk) -> Desk:
    """A desk whose archive is in an S3 service that nobody serves."""
    (desk.folder / "dac.yaml").write_text(CONFIGURATION.format(port=free_port()))
    pq.write_table(star_table(100), desk.folder / "stars.parquet")
    return desk


@pytest.mark.parametrize(
    "command",
    [
        ("catalog", "add", "stars.parquet", "--name", "demo.stars"),
        ("catalog", "list"),
        ("catalog", "check"),
        ("query", "SELECT TOP 1 * FROM demo.stars"),
        ("explain", "SELECT TOP 1 * FROM demo.stars"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_store_that_is_away_is_told_by_every_command(cut_off: Desk, command: tuple[str, ...]) -> None:
    assert cut_off.refused(9, *command) == AWAY
    assert not list(Path(cut_off.folder).glob("spill/**/*.parquet"))


def test_a_source_in_a_store_that_is_away_is_told(cut_off: Desk) -> None:
    (cut_off.folder / "here.yaml").write_text(
        (cut_off.folder / "dac.yaml").read_text().replace("s3://nowhere/dac", "archive")
    )
    add = ("--config", "here.yaml", "catalog", "add", "s3://nowhere/stars.parquet", "--name", "demo.stars")
    assert cut_off.refused(9, *add) == AWAY
    assert not (cut_off.folder / "archive").exists()
