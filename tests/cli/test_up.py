"""``idac up`` as a process of its own: it starts, answers, and ends when it is told to."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from command_fixture import Run
from idac.cli.up import _listen
from idac.core.loading import load_settings
from idac.core.principal import Principal
from idac.identity.credentials import new_secret
from idac.identity.groups import UserGroups
from idac.web.callers import network_of
from idac.wiring.identity import open_administration
from idac.wiring.settings import DacSettings
from idac.wiring.state import open_current_state
from identity_centre import WORDS
from services import http
from services.idac_process import IDAC


@pytest.fixture
def folder(centre_folder: Path, tmp_path: Path) -> Path:
    """A copy of the centre, for a process that writes into it."""
    return Path(shutil.copytree(centre_folder, tmp_path / "centre"))


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``idac up`` at a free port, and what it printed when it answered."""
    command = [IDAC, "up", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    try:
        while not said.endswith(("Stop with Ctrl-C.\n", "}\n")):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            said += line
        yield process, said
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str]:
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_it_prints_its_addresses_answers_there_and_ends_well_when_told_to(folder: Path) -> None:
    with running(folder) as (process, said):
        lines = said.splitlines()
        url = lines[1].removeprefix("  TAP          ").removesuffix("/api/tap")
        assert url.startswith("http://localhost:")
        assert lines == [
            "Data Access Centre is up.",
            f"  TAP          {url}/api/tap",
            f"  Examples     {url}/api/tap/examples",
            f"  Cone search  {url}/api/scs/SCHEMA.TABLE",
            "",
            "1 table: demo.stars",
            "Stop with Ctrl-C.",
        ]
        query = {"LANG": "ADQL", "FORMAT": "csv", "QUERY": "SELECT id FROM demo.stars WHERE id = 2"}
        assert http.get(f"{url}/api/tap/sync", params=query).text.split() == ["id", "2"]
        cone = {"RA": 56.75, "DEC": 24.12, "SR": 0.1, "RESPONSEFORMAT": "csv"}
        assert (
            http.get(f"{url}/api/scs/demo.stars", params=cone).text.splitlines()[1].startswith("56.750000000123,24.12")
        )
        assert http.get(f"{url}/api/tap/examples").status_code == 200
        code, err = end(process, signal.SIGTERM)
        assert code == 0, err
        assert "Traceback" not in err


def test_a_group_that_counts_for_nobody_is_told_of_at_the_start(folder: Path) -> None:
    config = folder / "dac.yaml"
    with config.open("a") as file:
        file.write("identity: {enabled: true, providers: {}}\n")
    loaded = load_settings(DacSettings, config)
    with closing(open_current_state(loaded)) as database:
        people = open_administration(loaded, database)
        people.add_account("ada", actor="local:tester", is_admin=True, password=WORDS)
        UserGroups(people).make(Principal("ada", "user"), "dp2-team")
    config.write_text(config.read_text().replace("providers: {}", "quotas: {bypass: [dp2-team]}"))
    with running(folder) as (process, _):
        code, err = end(process, signal.SIGTERM)
    assert code == 0, err
    assert "WARNING idac.cli.up: The group dp2-team, which ada owns, counts for nobody: " in err


def test_ctrl_c_is_a_good_end_too_and_only_some_parts_may_run(folder: Path) -> None:
    with running(folder, "--json", "--only", "query") as (process, said):
        told = json.loads(said)
        assert told == {"url": told["url"], "tap": f"{told['url']}/api/tap", "tables": ["demo.stars"]}
        job = {"LANG": "ADQL", "QUERY": "SELECT id FROM demo.stars", "PHASE": "RUN"}
        started = http.post(f"{told['tap']}/async", data=job, follow_redirects=True)
        # Nobody works off jobs here: it waits for a process that does.
        assert ">QUEUED<" in started.text
        code, err = end(process, signal.SIGINT)
        assert code == 0, err
    with running(folder, "--json", "--only", "jobs") as (process, said):
        url = json.loads(said)["url"]
        assert http.get(f"{url}/api/tap/sync").status_code == 404
        assert http.get(f"{url}/api/health").status_code == 200
        assert end(process, signal.SIGTERM)[0] == 0


def test_a_port_that_is_taken_is_told(centre: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = centre("up", "--port", str(port))
        message = (
            f"This address can't be listened on. Given: 127.0.0.1:{port}: Address already in use. "
            "Allowed: an address of this machine, and a port that is free. "
            "Stop what uses it, or choose another with --port or server.port; 0 takes a free one."
        )
        assert (done.code, done.out, done.err) == (7, "", f"Error: {message}\n")
        assert centre("up", "--port", str(port), "--json").error["message"] == message


def test_an_address_that_is_not_here_is_told(centre: Run) -> None:
    done = centre("up", "--host", "203.0.113.7", "--port", "0")
    assert done.code == 7
    assert done.err == (
        "Error: This address can't be listened on. Given: 203.0.113.7:0: Cannot assign requested address. "
        "Allowed: an address of this machine, and a port that is free. "
        "Name an address of this machine with --host or server.host: 127.0.0.1, or 0.0.0.0 for all.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "qery"), "There is no part 'qery'. Allowed: query, jobs."),
        (("--only", ","), "There is no part ','. Allowed: query, jobs."),
        (("--port", "70000"), "Invalid value for '--port': 70000 is not in the range 0<=x<=65535."),
    ],
)
def test_options_that_make_no_sense_are_refused(centre: Run, arguments: tuple[str, ...], message: str) -> None:
    done = centre("up", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"Usage: idac up [OPTIONS]\nTry 'idac up --help' for help.\n\nError: {message}\n"
    assert centre("up", *arguments, "--json").error["message"] == message


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_socket_for_all_addresses_tells_callers_of_both_kinds_apart() -> None:
    with closing(_listen("::", 0)) as listener:
        listener.listen()
        counted = []
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            with (
                closing(socket.create_connection((host, listener.getsockname()[1]), source_address=(host, 0))),
                closing(listener.accept()[0]) as met,
            ):
                counted.append(network_of(met.getpeername()[0]))
    assert counted == ["127.0.0.1", "127.0.0.2", "::/64"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_proxy_is_believed_at_a_socket_for_all_addresses(tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text("identity: {enabled: true, guesses_per_address: 2}\nserver: {processes: 1}\n")
    with running(tmp_path, "--host", "::", "--json") as (_, said):
        port = json.loads(said)["url"].rpartition(":")[2]

        def guesses(*clients: str) -> list[int]:
            return [
                http.get(
                    f"http://127.0.0.1:{port}/auth/api/v1/user-info",
                    headers={"authorization": f"Bearer {new_secret().text}", "x-forwarded-for": client},
                ).status_code
                for client in clients
            ]

        assert guesses(*(f"198.51.100.{number}" for number in range(4))) == [401] * 4
        assert guesses(*["198.51.100.9"] * 3) == [401, 401, 429]
        # Whoever has been tried by the proxy is known by one name, however it writes that.
        assert guesses("::ffff:198.51.100.9") == [429]
