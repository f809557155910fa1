"""``idac login`` and ``idac logout`` against a running centre, and what they leave on the machine."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvo
import requests
import urllib3
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from command_fixture import Run, command_runner
from idac.client import session
from idac.client.kept import LogIn, LogIns
from idac.client.requests_session import WaitWhereTold
from idac.core.errors import BadConfiguration, NotAuthenticated
from idac.identity import device, routes_device
from identity_centre import ME, PUBLIC, RESTRICTED, IdentityCentre, form_token_of, identity_centre
from identity_clock import Clock
from services.foreign_clients import foreign_clients
from services.http_server import serving
from services.idac_process import IDAC


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with pytest.MonkeyPatch.context() as patch:
        # Programs are told to ask at once, so that nobody waits.
        patch.setattr(device, "INTERVAL_S", 0)
        patch.setattr(routes_device, "INTERVAL_S", 0.02)
        with identity_centre(tmp_path_factory.mktemp("centre")) as served:
            served.user("ada", right=True)
            yield served


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "idac" / "log-ins"


@pytest.fixture
def idac(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return command_runner(monkeypatch, capsys)


def begin(url: str, *options: str) -> tuple[subprocess.Popen[str], str]:
    """The command in a process of its own, and the code that it shows."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([IDAC, "login", url, "--no-browser", *options], stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"Open   {url}/auth/code\n"
    line = process.stdout.readline()
    assert line.startswith("Enter  "), line
    return process, line.removeprefix("Enter  ").strip()


def decide(centre: IdentityCentre, code: str, decision: str = "allow") -> str:
    """What ada reads after she has decided."""
    with centre.browser() as browser:
        centre.log_in("ada", browser)
        asked = browser.get("/auth/code", params={"user_code": code})
        assert asked.status_code == 200, asked.text
        form = {"user_code": code, "decision": decision, "csrf": form_token_of(asked)}
        return browser.post("/auth/code", data=form).text


def log_in(centre: IdentityCentre) -> str:
    process, code = begin(centre.url)
    decide(centre, code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_one_logs_in_asks_and_logs_out(centre: IdentityCentre, folder: Path, idac: Run) -> None:
    said = log_in(centre)
    kept = LogIns().find(centre.url)
    assert kept is not None
    assert said.splitlines()[-1].startswith(f"You are logged in at {centre.url} as ada until ")
    assert kept.token not in said + repr(kept)
    (file,) = folder.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, folder)] == [0o600, 0o700]
    assert centre.query(RESTRICTED, kept.token).status_code == 200
    name = f"idac login on {os.uname().nodename.partition('.')[0]}"
    (mine,) = [token for token in centre.administration.tokens("ada") if token.state(token.created) == "active"]
    assert (mine.name, mine.key) == (name[:64], kept.token[5:27])

    done = idac("logout")
    assert (done.code, done.out) == (0, f"You are logged out at {centre.url}.\n")
    assert list(folder.iterdir()) == []
    assert centre.query(RESTRICTED, kept.token).status_code == 401
    again = idac("logout", centre.url)
    assert (again.code, again.err) == (
        6,
        f"Error: You are not logged in there. Given: {centre.url}. Log in with: idac login {centre.url}\n",
    )


def test_a_second_log_in_ends_the_token_of_the_first(centre: IdentityCentre, folder: Path) -> None:
    log_in(centre)
    first = LogIns().find(centre.url)
    log_in(centre)
    second = LogIns().find(centre.url)
    assert first is not None
    assert second is not None
    assert centre.query(RESTRICTED, first.token).status_code == 401
    assert centre.query(RESTRICTED, second.token).status_code == 200
    assert len(list(folder.iterdir())) == 1


def test_whoever_refuses_keeps_the_program_out(centre: IdentityCentre, folder: Path) -> None:
    process, code = begin(centre.url)
    assert "was refused" in decide(centre, code, "refuse")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (6, "Error: The log-in was refused.")
    assert not folder.exists()


def test_ctrl_c_leaves_nothing_behind(centre: IdentityCentre, folder: Path) -> None:
    process, _ = begin(centre.url)
    assert process.stderr is not None
    assert process.stderr.readline() == "Waiting for you to allow it there (15 minutes; Ctrl-C gives up) …\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.split()) == (130, ["Stopped."])
    assert not folder.exists()


def test_programs_read_the_code_as_json(centre: IdentityCentre, folder: Path) -> None:
    process = subprocess.Popen([IDAC, "login", centre.url, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    while not said.endswith("}\n"):
        said += process.stdout.readline()
    told = json.loads(said)
    assert told["verification_uri_complete"] == f"{centre.url}/auth/code?user_code={told['user_code']}"
    decide(centre, told["user_code"])
    out, _ = process.communicate(timeout=60)
    kept = LogIns().find(centre.url)
    assert kept is not None
    assert json.loads(out) == {
        "url": centre.url,
        "username": "ada",
        "scopes": ["read:tap"],
        "expires": kept.expires,
    }
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("login", "http://dac.example.org"),
            2,
            "A token that is sent over plain http can be read on its way. Given: http://dac.example.org. "
            "Allowed: https, or http on this machine. Use https://dac.example.org if the centre has it.",
        ),
        (
            ("login", "ftp://dac.example.org"),
            2,
            "This is no address of a centre. Given: ftp://dac.example.org. Allowed: such as https://dac.example.org.",
        ),
        (
            ("logout",),
            6,
            "You are not logged in anywhere. Log in with: idac login https://dac.example.org",
        ),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_is_said_in_full(idac: Run, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = idac(*arguments)
    assert (done.code, done.out, done.err) == (code, "", f"Error: {message}\n")


@pytest.mark.usefixtures("folder")
def test_scopes_that_there_are_not_are_refused(centre: IdentityCentre, idac: Run) -> None:
    done = idac("login", centre.url, "--scope", "read:all")
    assert (done.code, done.err) == (
        6,
        "Error: The centre did not let this program log in. Given: There are no such scopes. Given: read:all. "
        "Allowed: read:tap user:token user:groups admin..\n",
    )


def test_a_log_in_whose_centre_is_gone_is_removed_only_on_demand(folder: Path, idac: Run) -> None:
    gone = "http://127.0.0.1:9"
    LogIns().keep(LogIn(gone, "idac_x", "ada", ("read:tap",)))
    done = idac("logout", gone)
    assert (done.code, done.err) == (
        9,
        f"Error: The token was not revoked, since the centre does not answer. Given: {gone}: [Errno 111] Connection "
        "refused. Try again later. With --only-here it is removed from this machine, and still holds there.\n",
    )
    assert len(list(folder.iterdir())) == 1
    assert idac("logout", "--only-here", gone).out == f"The log-in at {gone} is removed here.\n"
    assert list(folder.iterdir()) == []


# -- python ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_pyvo_asks_with_the_token_that_the_command_left(
    centre: IdentityCentre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = centre.token("ada")
    LogIns().keep(LogIn(centre.url, secret.text, "ada", ("read:tap",)))
    # A password that is kept for this host does not take the token's place.
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with foreign_clients():
        for url in (centre.url, None):
            with session(url) as logged_in:
                tap = pyvo.dal.TAPService(centre.tap, session=logged_in)
                assert len(tap.search(RESTRICTED)) == 1
                assert len(tap.run_async(RESTRICTED)) == 1


@pytest.mark.usefixtures("folder")
def test_the_token_goes_to_no_other_place(centre: IdentityCentre) -> None:
    LogIns().keep(LogIn("https://dac.example.org", "idac_" + "0" * 65, "ada", ("read:tap",)))
    with foreign_clients(), session("https://dac.example.org") as logged_in:
        answer = logged_in.get(f"{centre.url}/")
        assert answer.status_code == 200
        assert "Authorization" not in answer.request.headers
        kept = logged_in.prepare_request(requests.Request("GET", "https://dac.example.org/api/tap"))
        assert kept.headers["Authorization"] == "Bearer idac_" + "0" * 65


@pytest.mark.usefixtures("folder")
def test_a_session_waits_where_the_centre_tells_it_to(centre: IdentityCentre, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = centre.quotas.quotas
    # The minute in which requests are counted does not end on the way.
    monkeypatch.setattr(centre.administration.store, "now", Clock(centre.administration.store.now()))
    centre.user("pat")
    LogIns().keep(LogIn(centre.url, centre.token("pat").text, "pat", ("read:tap",)))
    waits: list[int] = []

    def wait(_self: object, response: urllib3.BaseHTTPResponse) -> None:
        waits.append(int(response.headers["retry-after"]))
        quotas.remove("pat", [], actor=ME)  # as if the minute were over

    monkeypatch.setattr(WaitWhereTold, "sleep", wait)
    with foreign_clients(), session(centre.url) as logged_in:
        tap = pyvo.dal.TAPService(centre.tap, session=logged_in)
        quotas.set("pat", {"tap": 1}, actor=ME)
        tap.search(PUBLIC)
        for ask in (tap.search, tap.run_async):
            quotas.set("pat", {"tap": 1}, actor=ME)
            assert len(ask(PUBLIC)) == 1
        assert len(waits) == 2
        assert all(0 < each <= 60 for each in waits)
        # A body that can be read once alone is not sent again.
        quotas.set("pat", {"tap": 1}, actor=ME)
        pieces = iter([b"LANG=ADQL&QUERY=SELECT+1"])
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert logged_in.post(f"{centre.tap}/sync", data=pieces, headers=form).status_code == 429
        assert len(waits) == 2


@pytest.mark.usefixtures("folder")
def test_a_session_waits_for_a_minute_in_all_and_after_429_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    monkeypatch.setattr(WaitWhereTold, "sleep", lambda _self, answer: waits.append(answer.headers["retry-after"]))

    async def refuse(request: Request) -> Response:
        wait = request.query_params.get("wait")
        status = int(request.path_params["status"])
        return Response("Come again.", status, headers={"retry-after": wait} if wait is not None else {})

    with serving(Starlette(routes=[Route("/{status}", refuse, methods=["GET", "POST"])])) as url:
        LogIns().keep(LogIn(url, "idac_x", "ada", ()))
        with foreign_clients(), session(url) as logged_in:

            def waited(path: str) -> list[str]:
                waits.clear()
                answer = logged_in.post(f"{url}/{path}", data={"a": "b"})
                assert (answer.status_code, answer.text) == (int(path[:3]), "Come again.")
                return waits.copy()

            assert waited("429?wait=25") == ["25", "25"]
            assert waited("429?wait=61") == []
            assert waited("429?wait=0") == ["0"] * 5
            assert waited("429") == waited("503?wait=1") == waited("413?wait=1") == []


@pytest.mark.usefixtures("folder")
def test_without_a_log_in_there_is_no_session() -> None:
    with pytest.raises(NotAuthenticated) as caught:
        session("https://dac.example.org")
    assert str(caught.value) == (
        "You are not logged in there. Given: https://dac.example.org. Log in with: idac login https://dac.example.org"
    )
    for place in ("a", "b"):
        LogIns().keep(LogIn(f"https://{place}.example.org", "idac_x", "ada", (), int(time.time()) - 1))
    with pytest.raises(NotAuthenticated) as caught:
        session()
    assert str(caught.value) == (
        "Say at which centre. Allowed: https://a.example.org, https://b.example.org. Give its address."
    )
    with pytest.raises(NotAuthenticated) as caught:
        session("a.example.org")
    assert (
        str(caught.value)
        == "Your log-in has ended. Given: https://a.example.org. Log in with: idac login https://a.example.org"
    )


# -- the files ---------------------------------------------------------------------------------------------------------


def test_a_file_that_others_can_read_is_not_used(folder: Path) -> None:
    path = LogIns().keep(LogIn("https://dac.example.org:8443", "idac_x", "ada", ("read:tap",)))
    assert path == folder / "dac.example.org_8443.json"
    path.chmod(0o640)
    with pytest.raises(BadConfiguration) as caught:
        LogIns().find("https://dac.example.org:8443")
    assert str(caught.value) == (
        f"The file with your log-in can be read or changed by others. Given: {path}. Allowed: a file of your own with "
        f"mode 600. Log out and in again, since others may have the token; or chmod 600 {path}"
    )
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(BadConfiguration) as caught:
        LogIns().find("https://dac.example.org:8443")
    assert str(caught.value) == (
        f"The file with your log-in can't be read. Given: {path}. Remove it, and log in again."
    )


def test_a_folder_that_was_open_is_closed_and_one_that_cant_be_made_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True, mode=0o755)
    LogIns().keep(LogIn("https://dac.example.org", "idac_x", "ada", ()))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(BadConfiguration) as caught:
        LogIns().keep(LogIn("https://dac.example.org", "idac_x", "ada", ()))
    assert str(caught.value) == (
        f"The log-in can't be kept. Given: {tmp_path}/file/idac/log-ins: Not a directory. Allowed: a folder that you "
        "may write to. Name another place in the environment variable XDG_CONFIG_HOME."
    )
