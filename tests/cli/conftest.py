"""A new centre for each test, and one with a table in it for those that only read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from archive_fixture import TableData, build_archive, star_table
from command_fixture import Run, command_runner
from idac.tables.model import DOUBLE, FLOAT, LONG, STRING, Column

DAC_YAML = "catalogs:\n  default_read: [public]\n"


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a new centre's folder."""
    (tmp_path / "dac.yaml").write_text(DAC_YAML)
    monkeypatch.chdir(tmp_path)
    return command_runner(monkeypatch, capsys)


@pytest.fixture
def stars(tmp_path: Path) -> Path:
    pyarrow.csv.write_csv(star_table(500), tmp_path / "stars.csv")
    return tmp_path / "stars.csv"


@pytest.fixture(scope="session")
def centre_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A centre with three stars in ``demo.stars``, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("centre")
    (folder / "dac.yaml").write_text(DAC_YAML)
    columns = (
        Column("id", LONG),
        Column("ra", DOUBLE, unit="deg", ucd="pos.eq.ra;meta.main"),
        Column("dec", DOUBLE, unit="deg", ucd="pos.eq.dec;meta.main"),
        Column("mag", FLOAT, unit="mag"),
        Column("name", STRING),
    )
    data = pa.table(
        {
            "id": [1, 2, 3],
            "ra": [10.5, 56.750000000123, 300.0],
            "dec": [-5.0, 24.12, 0.0],
            "mag": pa.array([6.474, None, 1.5], pa.float32()),
            "name": ["alpha", "[red]\x1b[31mbeta[/red]", None],
        }
    )
    build_archive(folder, {"demo.stars": TableData(data, columns)})
    return folder


@pytest.fixture
def centre(centre_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in the folder of that centre."""
    monkeypatch.chdir(centre_folder)
    return command_runner(monkeypatch, capsys)
