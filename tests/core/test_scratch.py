"""Scratch folders: one's own, gone at the end, and cleared by the next owner where there was no end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from idac.core.scratch import open_scratch, sweep_scratch

OWNER = """
import sys
from pathlib import Path
from idac.core.scratch import open_scratch
scratch = open_scratch(Path(sys.argv[1]), "work")
(scratch.path / "spilled").write_bytes(b"rows")
print(scratch.path, flush=True)
sys.stdin.read()
"""


def start_owner(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()


def test_a_closed_folder_is_gone(tmp_path: Path) -> None:
    scratch = open_scratch(tmp_path / "spill", "work")
    (scratch.path / "file").write_bytes(b"x")
    scratch.close()
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_killed_owners_folder_goes_with_the_next_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead, left = start_owner(tmp_path)
    alive, kept = start_owner(tmp_path)
    try:
        end(dead)
        assert (left / "spilled").exists()
        scratch = open_scratch(tmp_path, "work")
        assert sorted(tmp_path.iterdir()) == sorted([kept, scratch.path])
        scratch.close()
    finally:
        end(alive)


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".owner").touch()
    (tmp_path / "work-link").symlink_to(elsewhere)
    (tmp_path / "other-1").mkdir()
    (tmp_path / "other-1" / ".owner").touch()
    (tmp_path / "work-new").mkdir()
    assert sweep_scratch(tmp_path, "work") == []
    assert (elsewhere / ".owner").exists()


def test_a_folder_whose_owner_died_at_once_goes_when_it_is_old(tmp_path: Path) -> None:
    (tmp_path / "work-old").mkdir()
    os.utime(tmp_path / "work-old", (time.time() - 7200,) * 2)
    assert sweep_scratch(tmp_path, "work") == [tmp_path / "work-old"]
    assert list(tmp_path.iterdir()) == []
