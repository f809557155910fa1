"""``idac explain``: what would be read, before it is."""

from __future__ import annotations

import re

from command_fixture import Run

CONE = "SELECT id FROM demo.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(56.75, 24.12, 0.5))"


def test_a_cone_reads_the_file_that_it_touches(centre: Run) -> None:
    told = centre("explain", CONE, "--json").json
    assert [(s["table"], s["files"], s["files_total"], s["rows"], s["rows_total"]) for s in told["scans"]] == [
        ("demo.stars", 1, 3, 1, 3)
    ]
    assert (told["rows_to_read"], told["lane"]) == (1, "interactive")
    assert told["scans"][0]["reason"].startswith("cone of 30 arcmin")
    assert 'FROM "m_t1"' in told["sql"]


def test_people_get_a_table_and_the_sql(centre: Run) -> None:
    done = centre("explain", CONE)
    assert (done.code, done.err) == (0, "")
    lines = [line for line in done.out.splitlines() if line.strip()]
    assert lines[0].split() == ["table", "files", "row", "groups", "rows", "read", "because", "of"]
    assert lines[2].split()[:8] == ["demo.stars", "(t1)", "1", "of", "3", "1", "of", "3"]
    assert lines[3] == "1 row to read; lane: interactive"
    assert lines[4] == "-- Read from these row groups directly, without running SQL. In SQL it would be:"
    assert lines[5].startswith("SELECT ")


def test_a_whole_table_is_read_for_want_of_a_condition(centre: Run) -> None:
    told = centre("explain", "SELECT AVG(mag) FROM demo.stars", "--json").json
    assert [(s["rows"], s["reason"]) for s in told["scans"]] == [(3, "whole table")]


def test_a_query_that_cannot_run_is_refused_as_it_would_be(centre: Run) -> None:
    done = centre("explain", "SELECT idd FROM demo.stars")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "  SELECT idd FROM demo.stars\n"
        "         ^\n"
        "Error: line 1, column 8: There is no column of this name in the tables of this query. Given: idd. "
        "Did you mean id?\n"
    )


def test_of_many_files_people_see_the_first(centre: Run) -> None:
    asked = "SELECT id, ra FROM demo.stars ORDER BY mag"
    whole = centre("explain", asked, "--json").json["sql"]
    files = re.findall(r"'([^']+\.parquet)'", whole)
    assert len(files) == 3
    shown = centre("explain", asked).out
    assert f"read_parquet(['{files[0]}', … 2 more files], hive_partitioning = false)" in shown
    assert files[1] not in shown
