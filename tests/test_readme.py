"""What the README tells a newcomer to type works, in the order in which it is told."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.table import Table

from command_fixture import command_runner
from fenced import Block, Shell, blocks, commands, run_script
from idac.cli.main import COMMANDS
from services import http
from services.idac_process import IdacProcess

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DEMO = ROOT / "demo"


def command_blocks() -> list[Block]:
    return [block for block in blocks(README, "sh") if "idac" in block.text.split()]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's commands name: a small table, and a schema of two."""
    folder = tmp_path_factory.mktemp("newcomer")
    stars = Table.read(DEMO / "sample" / "tycho2.fits")[:2000]
    stars.rename_columns(["ra", "dec"], ["RA", "DEC"])
    stars.write(folder / "tycho2.fits")
    survey = folder / "survey"
    survey.mkdir()
    stars[:100].write(survey / "Object.fits")
    Table({"visit": [1, 2, 3], "band": ["g", "r", "i"]}).write(survey / "Visit.csv")
    columns = {"Object": {"RA": "double", "DEC": "double"}, "Visit": {"visit": "long", "band": "char"}}
    (survey / "dp2.yaml").write_text(
        "name: dp2\ntables:\n"
        + "".join(
            f"- name: {table}\n  columns:\n"
            + "".join(
                f"  - {{name: {name}, datatype: {kind}{', length: 1' if kind == 'char' else ''}}}\n"
                for name, kind in found.items()
            )
            for table, found in columns.items()
        )
    )
    return folder


def test_a_picture_and_two_commands_come_first() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.startswith("![")
    picture = re.search(r"\]\((.*?)\)", text)
    assert picture is not None
    assert (ROOT / picture[1]).read_text().startswith("<svg ")
    first = blocks(README)[0]
    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_knows_both(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = {"demo": ".venv/bin/idac --config demo/.run/dac.yaml up", "test": ".venv/bin/pytest"}[target]
    assert done.stdout.splitlines()[-1].startswith(expected)


def test_every_command_runs_as_it_is_written(
    newcomer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *rest = command_blocks()
    assert first.text.splitlines()[-1].split("#")[0].strip() == "idac up"
    # The last line serves for ever; it is started below.
    run_script("\n".join(first.text.splitlines()[:-1]), newcomer)
    folder = newcomer / "mydac"
    centre = IdacProcess(folder)
    centre.start()
    try:
        query = {"LANG": "ADQL", "FORMAT": "csv", "QUERY": "SELECT COUNT(*) AS n FROM dp2.Visit"}
        assert http.get(f"{centre.tap}/sync", params=query).text.split() == ["n", "3"]
    finally:
        centre.stop()
    monkeypatch.chdir(folder)
    shell = Shell(command_runner(monkeypatch, capsys), monkeypatch)
    lines = [line for block in rest for line in commands(block)]
    # What is asked of a centre from afar is in tests/client.
    said = "".join(shell.run(line) for line in lines if "https://dac.example.org" not in line)
    assert "tycho2.main is the version of" in said
    assert "This is valid ADQL 2.1." in said
    assert {"pleiades.parquet", "tycho2.yaml", "dac.schema.json"} <= {path.name for path in folder.iterdir()}


def test_every_command_that_there_is_is_shown() -> None:
    shown = {match[1] for block in command_blocks() for match in re.finditer(r"\bidac (\w+)", block.text)}
    assert shown == set(COMMANDS)


def test_the_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    local = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert len(local) > 5
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_demonstration_is_built_from_the_sample_where_there_is_no_apt(tmp_path: Path) -> None:
    """The script that make demo runs, in a copy of what it needs."""
    for name in ("demo", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".run"))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for program in ("python", "idac"):
        (tmp_path / ".venv" / "bin" / program).symlink_to(Path(sys.executable).parent / program)
    run_script(f"{sys.executable} demo/prepare.py --sample --out demo/.run/data && scripts/demo-archive.sh", tmp_path)
    manifest = (tmp_path / "demo" / ".run" / "archive" / "catalogs" / "manifest.json").read_text()
    assert '"tycho2"' in manifest
    assert '"kstars"' in manifest
    again = run_script("scripts/demo-archive.sh", tmp_path)
    assert again == ""
