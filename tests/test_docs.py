"""The documentation builds, and what it shows is so: commands, queries, files, and the pages made from the code."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from astropy.table import Table

from command_fixture import Run, command_runner
from fenced import Block, Shell, blocks, commands, run_script
from idac.catalogs.felis import read_felis
from idac.cli import up
from idac.cli.config import iter_keys
from idac.client.kept import LogIn, LogIns
from idac.core import errors
from idac.core.loading import load_settings
from idac.query.adql.functions import FUNCTIONS
from idac.query.adql.geometry_rules import GEOMETRY
from idac.tables.formats import FORMATS
from idac.wiring.settings import DacSettings
from services.foreign_clients import foreign_clients
from services.idac_process import IdacProcess

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DEMO = ROOT / "demo"
PAGES = sorted(DOCS.rglob("*.md"))


def all_blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, *languages)]


# -- the pages ---------------------------------------------------------------------------------------------------------


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = f"cd {ROOT} && mkdocs build --strict -d {tmp_path}/site"
    run_script(command, tmp_path, NO_MKDOCS_2_WARNING="1")
    page = (tmp_path / "site" / "reference" / "exit-codes" / "index.html").read_text()
    assert "generated:" not in page
    assert "<td>130</td>" in page
    assert (tmp_path / "site" / "picture.svg").is_file()


def test_every_language_of_a_block_is_one_that_is_tried_here() -> None:
    """Save what programs print, which has none."""
    assert {block.language for block in all_blocks()} - {"", "text"} == {"sh", "sql", "python", "yaml"}


# -- the reference pages, which are made from the code -----------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(hooks: ModuleType, page: str) -> str:
    text: str = hooks.on_page_markdown((DOCS / "reference" / page).read_text(encoding="utf-8"))
    return text


def first_cells(text: str) -> list[str]:
    return [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]


def test_every_key_of_dac_yaml_is_explained(hooks: ModuleType) -> None:
    text = made(hooks, "configuration.md")
    shown = re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)
    assert [key for key in shown if ".NAME" not in key] == [key for key, *_ in iter_keys(DacSettings)]
    assert "stores.NAME.endpoint" in shown
    assert not re.search(r"\| *\|$", text, re.MULTILINE)
    # What differs from machine to machine is not printed as if it were the same for all.
    assert re.search(r"`engine.threads` .* by the machine \|", text)


def test_every_function_is_listed_with_all_its_signatures(hooks: ModuleType) -> None:
    text = made(hooks, "functions.md")
    for function in FUNCTIONS.values():
        assert all(f"`{signature}`" in text for signature in function.signatures), function.name
        assert function.description.replace("|", "\\|") in text
    for form in GEOMETRY.values():
        assert f"`{form.split(' or ')[0].removesuffix(' and the like')}`" in text


def test_every_exit_code_is_explained(hooks: ModuleType) -> None:
    text = made(hooks, "exit-codes.md")
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.UserError)]
    codes = [int(cell) for cell in first_cells(text) if cell.isdigit()]
    assert codes == sorted({0, 70} | {kind.exit_code for kind in kinds})
    for kind in kinds:
        row = next(line for line in text.splitlines() if line.startswith(f"| {kind.exit_code} "))
        assert f"`{kind.code}`" in row


def test_every_format_is_listed(hooks: ModuleType) -> None:
    text = made(hooks, "formats.md")
    assert [name for name in FORMATS if f"| `{name}` | {FORMATS[name].description} |" not in text] == []


# -- files that pages show ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_a_file_that_is_shown_is_valid(block: Block, tmp_path: Path) -> None:
    if block.page.name == "metadata.md":
        schema = read_felis(block.text)
        assert [column.unit for column in schema.tables[0].columns] == [None, "deg", "deg", "mag"]
        return
    (tmp_path / "dac.yaml").write_text(block.text)
    load_settings(DacSettings, tmp_path / "dac.yaml")


# -- commands that pages show ------------------------------------------------------------------------------------------

SERVING = [line for block in all_blocks("sh") for line in commands(block) if line.startswith("idac up")]
#: On the astronomers' pages the centre is the demonstration's; they are tried below.
PAGES_TO_RUN = sorted({block.page for block in all_blocks("sh") if block.page.parent.name != "astronomers"})


@pytest.mark.parametrize("line", SERVING)
def test_a_centre_starts_with_the_options_that_are_shown(line: str) -> None:
    """They are parsed here; centres that run are in tests/cli/test_up.py."""
    up.command.make_context("up", shlex.split(line, comments=True)[2:])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables that pages take for granted."""
    folder = tmp_path_factory.mktemp("files")
    stars = Table.read(DEMO / "sample" / "tycho2.fits")
    stars.rename_columns(["ra", "dec"], ["RA", "DEC"])
    stars.write(folder / "tycho2.fits")
    for name in ("parts", "survey"):
        (folder / name).mkdir()
    stars[:50].write(folder / "parts" / "one.csv")
    stars[50:90].write(folder / "parts" / "two.csv")
    stars[:100].write(folder / "survey" / "Object.fits")
    (folder / "survey" / "dp2.yaml").write_text(
        "name: dp2\ntables:\n- name: Object\n  columns:\n"
        "  - {name: RA, datatype: double}\n  - {name: DEC, datatype: double}\n"
    )
    (folder / "mine.csv").write_text("label,ra,dec\na,56.87,24.11\n")
    return folder


@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: page.name)
def test_the_commands_of_a_page_work_one_after_the_other(
    page: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "centre"
    shutil.copytree(files, folder)
    (folder / "dac.yaml").write_text("catalogs:\n  default_read: [public]\n")
    (folder / "environments").mkdir()
    (folder / "environments" / "prod.yaml").write_text("state: {database: {secret: state-database}}\n")
    lines = [line for block in blocks(page, "sh") for line in commands(block)]
    # Make is in test_readme.py.
    lines = [line for line in lines if not re.match(r"idac up\b|make ", line)]
    if not any("catalog add" in line for line in lines):
        lines.insert(0, "idac catalog add tycho2.fits --name tycho2.main")
    monkeypatch.chdir(folder)
    shell = Shell(command_runner(monkeypatch, capsys), monkeypatch)
    for line in lines:
        shell.run(line)


# -- queries that pages show -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's centre, with the sample of its stars."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(DEMO / "dac.yaml", folder)
    for file, name in (("tycho2.fits", "tycho2.main"), ("kstars.ecsv", "kstars.stars")):
        felis = DEMO / f"{name.partition('.')[0]}.yaml"
        run_script(f"idac catalog add {DEMO}/sample/{file} --name {name} --felis {felis}", folder)
    return folder


@pytest.fixture
def idac(demo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(demo_folder)
    return command_runner(monkeypatch, capsys)


@pytest.mark.parametrize("block", all_blocks("sql"), ids=str)
def test_a_query_that_is_shown_has_an_answer(block: Block, idac: Run) -> None:
    done = idac("query", block.text, "--json")
    assert done.code == 0, done.err
    assert done.json["data"], "it finds nothing, and so shows nothing"


def test_examples_of_functions_are_queries(idac: Run) -> None:
    """Those that name columns which the demonstration does not have are tried with some that it has."""
    stand_in = {"obs_time": "CAST('2026-01-01T00:00:00' AS TIMESTAMP)", "t_min, t_max": "1.0, 2.0", "flags": "star_id"}
    for function in FUNCTIONS.values():
        if function.example is None:
            continue
        text = function.example
        for name, value in stand_in.items():
            text = text.replace(name, value)
        text = re.sub(r"\bdescription\b", "name", text)
        text = re.sub(r"\bvt_mag\b", "vmag", text)
        done = idac("query", f"SELECT TOP 1 {text} AS x FROM kstars.stars", "--json")
        assert done.code == 0, done.err


@pytest.fixture(scope="module")
def demo(demo_folder: Path) -> Iterator[IdacProcess]:
    centre = IdacProcess(demo_folder)
    centre.start()
    yield centre
    centre.stop()


#: What stands for a centre with log-in, and what the demonstration has, which is open to everyone. That a token is
#: needed, and enough, is held in tests/identity/test_clients.py.
HERE = {"https://dac.example.org": "{url}", "idac_…": "idac_token", "dp1.object": "tycho2.main"}


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_what_is_shown_in_python_works(
    block: Block, demo: IdacProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    LogIns().keep(LogIn(demo.url, "idac_token", "me", ("read:tap",)))
    with foreign_clients():
        text = block.text.replace("http://localhost:8080", demo.url)
        for shown, there in HERE.items():
            text = text.replace(shown, there.format(url=demo.url))
        exec(compile(text, str(block), "exec"), names)  # noqa: S102
        found = names.get("bright", names.get("table", names.get("found")))
        assert len(found) > 0
        names.clear()


@pytest.mark.parametrize("page", ["querying.md", "uploads.md"])
def test_what_astronomers_type_works(
    page: str, demo: IdacProcess, files: Path, tmp_path: Path, idac: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(files / "mine.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDAC_CONFIG", str(demo.folder / "dac.yaml"))
    shell = Shell(idac, monkeypatch)
    for block in blocks(DOCS / "astronomers" / page, "sh"):
        for line in commands(block):
            script = line.replace("http://localhost:8080", demo.url).replace("curl ", "curl -sSf ")
            own = "idac " in line
            assert shell.run(script) if own else run_script(script, tmp_path)
    if page == "querying.md":
        assert (tmp_path / "bright.parquet").is_file()


def test_what_the_cli_is_shown_to_say_it_says(idac: Run) -> None:
    (said,) = blocks(DOCS / "astronomers" / "querying.md", "text")
    assert idac("query", "SELECT vtmag FROM tycho2.main").err.endswith(said.text)
