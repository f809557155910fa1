"""``idac query`` asked of a running centre from another machine, as whoever is logged in there."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.table import Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from command_fixture import Run, command_runner
from idac.client.kept import LogIn, LogIns
from idac.tables.formats import FORMATS
from identity_centre import RESTRICTED, IdentityCentre, identity_centre
from services import http
from services.http_server import serving
from services.idac_process import IDAC

TEN = "SELECT TOP 10 id, ra FROM dp1.object ORDER BY id"
ALL = ("--max-rows", "1000000000")
ENDLESS = "SELECT a.id FROM " + ", ".join(f"demo.stars {name}" for name in "abcd")


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as served:
        served.user("ada", right=True)
        yield served


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in an empty folder of somebody who is logged in nowhere."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return command_runner(monkeypatch, capsys)


@pytest.fixture
def ada(centre: IdentityCentre, idac: Run) -> Run:
    LogIns().keep(LogIn(centre.url, centre.token("ada").text, "ada", ("read:tap",)))
    return idac


@pytest.mark.parametrize("options", [(), ("--job",)], ids=["sync", "job"])
def test_a_restricted_table_is_shown_to_who_is_logged_in(
    centre: IdentityCentre, ada: Run, options: tuple[str, ...]
) -> None:
    done = ada("query", TEN, "--service", centre.url, "--max-rows", "4", *options)
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert rows[0] == ["id", "ra", "[deg]"]
    assert len(rows) == 2 + 4
    assert done.err == f"Asking {centre.tap} as ada\n4 rows; there are more, see --max-rows and --output\n"
    exact = ada("query", TEN, "--service", centre.url, *options)
    assert exact.err.endswith("\n10 rows\n")


def test_where_there_is_no_archive_the_only_log_in_is_asked(centre: IdentityCentre, ada: Run, tmp_path: Path) -> None:
    done = ada("query", TEN, "--json")
    assert (done.code, done.err) == (0, "")
    assert len(done.json["data"]) == 10
    # A configuration that is there, or is named, means its own archive.
    named = ada("--config", "nosuch.yaml", "query", TEN)
    assert (named.code, "nosuch.yaml" in named.err) == (3, True)
    LogIns().keep(LogIn("https://dac.example.org", "idac_x", "me", ()))
    several = ada("query", TEN)
    assert (several.code, several.err) == (
        3,
        f"Error: There is no dac.yaml here, and so no archive to ask. Given: {tmp_path}. Allowed: --service with one "
        f"of https://dac.example.org, {centre.url}. Name one with --service.\n",
    )
    (tmp_path / "dac.yaml").write_text("catalogs: {default_read: [public]}\n")
    own = ada("query", TEN)
    assert (own.code, "There is no table of this name." in own.err, "Asking" in own.err) == (2, True, False)


@pytest.mark.parametrize("options", [(), ("--job",)], ids=["sync", "job"])
def test_a_result_is_written_whole(centre: IdentityCentre, ada: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    for ending in ("fits", "vot"):
        file = tmp_path / f"out.{ending}"
        done = ada("query", TEN, "--service", centre.tap, "-o", str(file), "--max-rows", "7", "--json", *options)
        assert done.code == 0, done.err
        assert done.json == {
            "file": str(file),
            "bytes": file.stat().st_size,
            "format": {"fits": "fits", "vot": "votable"}[ending],
            "cut": True,
        }
        assert len(Table.read(file)) == 7
    piped = ada("query", TEN, "--service", centre.url, "--format", "csv", *options)
    assert len(piped.out.split()) == 11
    jobs = http.get(f"{centre.tap}/async", headers={"authorization": f"Bearer {centre.token('ada').text}"})
    assert "jobref" not in jobs.text


def test_who_has_neither_an_archive_nor_a_log_in_is_told_of_both(idac: Run, tmp_path: Path) -> None:
    done = idac("query", TEN)
    assert (done.code, done.err) == (
        3,
        f"Error: There is no dac.yaml here, and so no archive to ask. Given: {tmp_path}. Allowed: a centre where you "
        "are logged in. Log in with idac login https://dac.example.org, or name a service with --service. To make a "
        "centre, run idac init.\n",
    )


CUT = "The result was cut at the row limit: ask for more with --max-rows.\n"
PERHAPS = (
    "The result has as many rows as the limit lets through, and its format can't say whether there are more: ask for "
    "more with --max-rows, or for another format.\n"
)


@pytest.mark.parametrize("options", [(), ("--job",)], ids=["sync", "job"])
@pytest.mark.parametrize("name", FORMATS)
def test_whoever_gets_a_result_that_was_cut_is_told(
    centre: IdentityCentre, ada: Run, name: str, options: tuple[str, ...]
) -> None:
    asked = ("query", TEN, "--service", centre.url, "--format", name, "-o", "out", *options)
    words = PERHAPS if name in ("csv", "tsv") else CUT
    assert ada(*asked, "--max-rows", "9").err.endswith(f" bytes, {FORMATS[name].description}\n{words}")
    whole = ada(*asked, "--max-rows", "11")
    assert whole.err.endswith(f" bytes, {FORMATS[name].description}\n")
    assert [ada(*asked, "--json", "--max-rows", rows).json["cut"] for rows in ("9", "11")] == [
        None if words == PERHAPS else True,
        False,
    ]


def test_the_limits_that_a_service_declares_count_where_text_can_not_say_that_it_was_cut(idac: Run) -> None:
    declared = (
        "<capabilities><capability><outputLimit><default unit='row'>2</default><hard unit='row'>3</hard></outputLimit>"
        "<outputLimit><hard unit='byte'>1</hard></outputLimit></capability></capabilities>"
    )
    rows = b'name,id\r\n"two\nlines and a "" mark",1\r\n'

    async def capabilities(_request: Request) -> Response:
        return Response(declared, media_type="text/xml")

    async def answer(request: Request) -> Response:
        sent = await request.form()
        return Response(rows + b"x,2\r\n" * int(str(sent["QUERY"])), media_type="text/csv")

    routes = [
        Route("/a/sync", answer, methods=["POST"]),
        Route("/a/capabilities", capabilities),
        Route("/b/sync", answer, methods=["POST"]),
    ]
    with serving(Starlette(routes=routes)) as url:

        def told(query: str, service: str, *options: str) -> str:
            done = idac("query", query, "--service", f"{url}/{service}", "--format", "csv", *options)
            assert done.code == 0, done.err
            return done.err.removeprefix(f"Asking {url}/{service}\n")

        assert told("0", "a") == ""
        assert told("1", "a") == PERHAPS
        assert told("1", "a", "--max-rows", "100") == ""
        assert told("2", "a", "--max-rows", "100") == PERHAPS
        assert told("1", "b") == ""
        assert told("1", "b", "--max-rows", "2") == PERHAPS


def test_what_is_wrong_with_the_query_is_said_as_it_is_at_home(centre: IdentityCentre, ada: Run) -> None:
    done = ada("query", "SELECT idd FROM dp1.object", "--service", centre.url)
    assert (done.code, done.out) == (2, "")
    message = (
        "line 1, column 8: There is no column of this name in the tables of this query. Given: idd. Did you mean id?"
    )
    assert done.err == f"Asking {centre.tap} as ada\n  SELECT idd FROM dp1.object\n         ^\nError: {message}\n"
    job = ada("query", "SELECT idd FROM dp1.object", "--service", centre.url, "--job", "--json")
    assert (job.code, "There is no column of this name" in job.error["message"]) == (2, True)


def test_who_is_not_logged_in_is_told_how_to_be(centre: IdentityCentre, idac: Run) -> None:
    done = idac("query", RESTRICTED, "--service", centre.url)
    assert (done.code, done.err.splitlines()[0]) == (6, f"Asking {centre.tap}")
    assert done.err.endswith(f" Log in with: idac login {centre.url}\n")
    assert idac("query", "SELECT TOP 1 id FROM demo.stars", "--service", centre.url).code == 0
    LogIns().keep(LogIn(centre.url, "idac_" + "0" * 65, "ada", ("read:tap",), 1))
    ended = idac("query", RESTRICTED, "--service", centre.url)
    assert ended.err.endswith(
        f"Error: Your log-in has ended. Given: {centre.url}. Log in with: idac login {centre.url}\n"
    )


def test_ctrl_c_and_the_end_of_its_time_stop_a_query(centre: IdentityCentre, ada: Run) -> None:
    for options in ((), ("--job",)):
        done = ada("query", ENDLESS, "--service", centre.url, "--timeout", "1", "-o", "out.csv", *ALL, *options)
        assert (done.code, done.err.splitlines()[-1]) == (
            8,
            "Error: The query took too long. Given: 1 s. "
            "Give it more time with --timeout, and let it run as a job with --job.",
        )
        assert not Path("out.csv").exists()
    command = [IDAC, "query", ENDLESS, "--service", centre.url, "--format", "csv", *ALL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"id\r\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.split()[-1]) == (130, b"Stopped.")


def test_other_services_are_read_as_their_standards_say(idac: Run) -> None:
    error = '<VOTABLE><RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">No &lt;such&gt; table</INFO>'

    async def refuse(_request: Request) -> Response:
        return Response(f"{error}</RESOURCE></VOTABLE>", 400, media_type="application/x-votable+xml")

    async def break_off(_request: Request) -> Response:
        return Response(f"{error}</RESOURCE></VOTABLE>\n", 200, media_type="application/x-votable+xml")

    async def elsewhere(_request: Request) -> Response:
        return Response(status_code=303, headers={"location": "https://evil.example.org/job/1"})

    routes = [
        Route("/d/async", elsewhere, methods=["POST"]),
        Route("/a/sync", refuse, methods=["POST"]),
        Route("/b/sync", break_off, methods=["POST"]),
    ]
    with serving(Starlette(routes=routes)) as url:
        refused = idac("query", "SELECT 1", "--service", f"{url}/a")
        assert refused.err == f"Asking {url}/a\nError: The service refused the query. Given: No <such> table.\n"
        broken = idac("query", "SELECT 1", "--service", f"{url}/b", "-o", "out.vot")
        assert broken.err.endswith(
            "Error: The service stopped with an error before the last row. Given: No <such> table.\n"
        )
        assert not Path("out.vot").exists()
        none = idac("query", "SELECT 1", "--service", f"{url}/c", "--json")
        assert (none.code, json.loads(none.err)["error"]["value"]) == (9, f"{url}/c, status 404")
        stray = idac("query", "SELECT 1", "--service", f"{url}/d", "--job")
        assert stray.err.endswith(
            "Error: The service says that its job is at another address. Given: https://evil.example.org/job/1. "
            f"Allowed: an address that begins with {url}. Leave --job out, and tell the operator of the service.\n"
        )
    away = idac("query", "SELECT 1", "--service", "http://127.0.0.1:9")
    assert away.code == 9
    assert "Error: The centre does not answer. Given: http://127.0.0.1:9: " in away.err


def test_a_job_is_for_a_service(idac: Run, tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text("")
    done = idac("query", "SELECT 1", "--job")
    assert (done.code, done.err) == (
        2,
        "Error: A job is for a service. Name the service with --service, or leave --job out.\n",
    )
