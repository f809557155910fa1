"""The house keeps its plan: imports point up the list of folders, and ARCHITECTURE.md shows the tree that is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "idac"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
#: The order of dependence: an import points to its own folder or to one before it.
ORDER = [
    *("core", "sky", "tables", "web", "identity", "jobs", "catalogs", "query"),
    *("images", "userspace", "alerts", "notebooks", "portal", "operations"),
    *("client", "wiring", "deploy", "cli"),
]


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE]


def imported_folders(path: Path, root: Path = PACKAGE) -> Iterator[tuple[int, str]]:
    """Line and folder of every import of our own package, wherever in the file it stands."""
    package = ("idac", *path.relative_to(root).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            names = [".".join([*base, *([node.module] if node.module else [])])]
            if names == ["idac"]:
                names = [f"idac.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "idac" and len(parts) > 1 and parts[1] != "__version__":
                yield getattr(node, "lineno", 0), parts[1]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_never_point_down_the_list(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    wrong = [
        f"{path.name}:{line} imports {folder}"
        for line, folder in imported_folders(path)
        if ORDER.index(folder) > ORDER.index(own)
    ]
    assert wrong == []


def test_the_import_check_sees_a_wrong_import(tmp_path: Path) -> None:
    folder = tmp_path / "sky"
    folder.mkdir()
    (folder / "bad.py").write_text("def f():\n    from idac.query import service\n    from ..cli import main\n")
    assert list(imported_folders(folder / "bad.py", tmp_path)) == [(2, "query"), (3, "cli")]


def test_every_folder_is_in_the_architecture_page_and_in_its_order() -> None:
    listed = re.findall(r"^├ (\w+)/", ARCHITECTURE, flags=re.MULTILINE)
    there = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert listed == [name for name in ORDER if name in there]


def test_every_file_the_architecture_page_names_exists() -> None:
    named = re.findall(r"`((?:src|tests|docs|demo|scripts|bench)/[\w./-]+)`", ARCHITECTURE)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_files_stay_short_enough_to_read() -> None:
    long = {
        str(p.relative_to(ROOT)): n for p in modules() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}
