"""Astronomers' own programs against a table that needs a right: refused without it, answered with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import pyvo
import requests

from idac.identity.credentials import Secret
from identity_centre import RESTRICTED, WORDS, IdentityCentre, identity_centre
from services.foreign_clients import foreign_clients
from services.programs import require


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre"), identity="basic_passwords: true") as served:
        served.user("ada", right=True)
        served.user("eve")
        yield served


@pytest.fixture(autouse=True)
def _foreign_clients() -> Iterator[None]:
    with foreign_clients():
        yield


def session(secret: Secret | None = None, basic: tuple[str, str] | None = None) -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    if secret is not None:
        made.headers["Authorization"] = f"Bearer {secret.text}"
    made.auth = basic
    return made


def test_pyvo_is_refused_without_the_right(centre: IdentityCentre) -> None:
    for refused, name in ((session(), "anonymous"), (session(centre.token("eve")), "eve")):
        words = rf"You may not read dp1\.object\. Given: caller {name}\."
        with refused, pytest.raises(pyvo.DALQueryError, match=words):
            pyvo.dal.TAPService(centre.tap, session=refused).search(RESTRICTED)


def test_pyvo_is_answered_with_it_however_the_token_is_sent(centre: IdentityCentre) -> None:
    token = centre.token("ada")
    ways = [
        session(token),
        session(basic=("ada", token.text)),
        session(basic=("x-oauth-basic", token.text)),
        session(basic=("ada", WORDS)),
    ]
    for allowed in ways:
        with allowed:
            assert len(pyvo.dal.TAPService(centre.tap, session=allowed).search(RESTRICTED)) == 1
    with session(token) as allowed:
        job = pyvo.dal.TAPService(centre.tap, session=allowed).submit_job(RESTRICTED)
        job.run().wait(phases=["COMPLETED", "ERROR"], timeout=60)
        assert (job.phase, job.owner) == ("COMPLETED", "ada")
        assert len(job.fetch_result()) == 1
        job.delete()


def run_stilts(*arguments: str, name: str = "", password: str = "") -> subprocess.CompletedProcess[str]:
    program = require("stilts", ["stilts"])["stilts"]
    options = ["-Djava.awt.headless=true", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    if name:
        options += [f"-Dstar.basicauth.user={name}", f"-Dstar.basicauth.password={password}"]
    return subprocess.run([program, *options, *arguments], capture_output=True, text=True, check=False)


def test_stilts_is_refused_without_the_right_and_answered_with_it(centre: IdentityCentre) -> None:
    query = ["tapquery", f"tapurl={centre.tap}", f"adql={RESTRICTED}", "sync=true", "ofmt=csv"]
    nobody = run_stilts(*query)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    eve = run_stilts(*query, name="eve", password=centre.token("eve").text)
    assert (eve.returncode, eve.stdout) == (1, "")
    ada = run_stilts(*query, name="ada", password=centre.token("ada").text)
    assert ada.returncode == 0, ada.stderr
    lines = ada.stdout.split()
    assert (lines[0], len(lines)) == ("id", 2)


def test_stilts_finds_no_fault_with_capabilities_that_ask_nobody_to_log_in(centre: IdentityCentre) -> None:
    done = run_stilts("taplint", f"tapurl={centre.tap}", "stages=TMV CPV CAP AVV")
    assert [line for line in done.stdout.splitlines() if line.startswith("E-")] == []
    assert "Totals: Errors: 0;" in done.stdout
