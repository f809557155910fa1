"""Several processes behind one address: each with its share, replaced when it dies, and none left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from idac.core.loading import load_settings
from idac.wiring.processes import share_of
from idac.wiring.settings import DacSettings
from services import http
from services.idac_process import IdacProcess
from services.waiting import until

SETTINGS = """\
server:
  processes: 2
engine:
  memory_gib: 2
  kept_gib: 1
  interactive_places: 4
  heavy_places: 1
jobs:
  workers: 3
"""


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[IdacProcess]:
    (tmp_path / "dac.yaml").write_text(SETTINGS)
    process = IdacProcess(tmp_path)
    process.start()
    try:
        yield process
    finally:
        process.stop()


def workers(centre: IdacProcess) -> list[psutil.Process]:
    """The processes that answer: those that listen."""
    children = psutil.Process(centre.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def answers(centre: IdacProcess) -> bool:
    text = http.get(
        f"{centre.tap}/sync", params={"LANG": "ADQL", "QUERY": "SELECT 1 AS one FROM tap_schema.schemas"}
    ).text
    return "<TABLEDATA>" in text or "<BINARY" in text


def test_a_process_that_dies_is_replaced_and_the_others_answer_meanwhile(centre: IdacProcess) -> None:
    first, second = workers(centre)
    first.kill()
    first.wait(60)
    assert answers(centre)
    until(lambda: len(workers(centre)) == 2)
    assert second in workers(centre)
    assert answers(centre)


def test_processes_end_with_the_one_that_started_them(centre: IdacProcess) -> None:
    children = workers(centre)
    os.kill(centre.pid, signal.SIGKILL)
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert (len(gone), alive) == (2, [])


def test_a_process_has_its_share_of_memory_and_places(tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text(SETTINGS)
    loaded = load_settings(DacSettings, tmp_path / "dac.yaml")
    share = share_of(loaded, 2).settings
    assert (share.engine.memory_gib, share.engine.kept_gib) == (1, 0.5)
    assert (share.engine.interactive_places, share.engine.heavy_places, share.jobs.workers) == (2, 1, 2)
    assert loaded.settings.engine.memory_gib == 2
