"""Short forms of ``make survive``: few kills, faults, hostile requests and seconds of load, from a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from survival.centre import Centre
from survival.kill import Course, wrong_answer
from survival.load import Load
from survival.requests import Attack

from survival import faults, hostile, invariants


def test_a_centre_whose_processes_are_killed_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    course = Course(tmp_path / "centre", seed=5)
    try:
        course.prepare()
        course.run(moments=2, rest_every=2)
    finally:
        course.close()
    assert course.findings.wrong == []
    assert course.findings.counts["jobs accepted"] > 0


def test_hostile_requests_meet_an_error_in_words(tmp_path: Path) -> None:
    attack = Attack(tmp_path / "centre", seed=5)
    try:
        attack.start()
        attack.run(cases=60, clients=2)
    finally:
        attack.close()
    assert attack.wrong == []
    assert attack.statuses["400"] > 0


@pytest.mark.parametrize("fault", ["file-deleted"])
def test_a_fault_ends_in_an_error_in_words_and_is_over_when_it_is_over(tmp_path: Path, fault: str) -> None:
    assert faults.run(fault, tmp_path / fault) is None


def test_clients_of_every_kind_get_right_answers_at_once(tmp_path: Path) -> None:
    load = Load(tmp_path / "centre", rows=20_000, seed=5, memory_gib=1.0)
    try:
        clients = load.prepare()
        load.look()
        idle = load.samples.pop()
        load.run(clients, seconds=4, factor=1)
        load.judge(idle, load.settle(idle), small_s=float("inf"))
    finally:
        if load.process.alive:
            load.process.kill()
    assert load.measured.wrong == []


# -- that the harnesses would see it -----------------------------------------------------------------------------------


def test_an_answer_that_was_cut_is_seen() -> None:
    assert wrong_answer("csv", b"id\r\n1\r\n2\r\n", 2) is None
    assert wrong_answer("csv", b"id\r\n1\r\n", 2) == "has 1 rows instead of 2"
    assert wrong_answer("votable/td", b"<VOTABLE><TR></TR>", 1) == "can't be read: AssertionError: it has no end"


def test_files_that_nothing_names_are_seen(tmp_path: Path) -> None:
    centre = Centre(tmp_path / "centre")
    (centre.archive / "catalogs/tables/s/t/0123").mkdir(parents=True)
    (centre.archive / "catalogs/manifest.json").write_text('{"documents": {}, "tables": {}, "retired": []}')
    (centre.archive / "catalogs/tables/s/t/0123/part.parquet").write_bytes(b"")
    (centre.folder / "tmp/idac-up-x").mkdir()
    assert list(invariants.orphans(centre)) == [
        "orphan in the archive: catalogs/tables/s/t/0123/part.parquet",
        "left in tmp: idac-up-x",
    ]


def test_a_job_with_two_results_or_none_is_seen() -> None:
    row = {"phase": "COMPLETED", "results": "[]", "error": None}
    assert list(invariants.wrong_jobs({"a": row}, ["a", "b", "c"], {"c"})) == [
        "job b was accepted and is gone",
        "job a is COMPLETED with 0 results",
    ]


def test_what_is_sent_follows_from_the_seed(tmp_path: Path) -> None:
    import random

    for make in hostile.UPLOADS:
        assert make(random.Random(3), tmp_path) == make(random.Random(3), tmp_path)
