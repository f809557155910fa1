"""Quotas over HTTP: what clients are told with each answer, what they meet when it is too much, and where they look."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import astropy.io.votable
import httpx
import pytest
import pyvo
import requests

from idac.core.loading import load_settings
from idac.identity.credentials import Secret
from idac.wiring.build import open_state
from idac.wiring.identity import open_administration
from idac.wiring.settings import DacSettings
from identity_centre import ME, PUBLIC, IdentityCentre, ahead, identity_centre
from identity_clock import Clock
from services import http
from services.foreign_clients import foreign_clients
from services.idac_process import IdacProcess
from services.waiting import until

QUOTAS = """quotas:
    default: { requests: { tap: 3, scs: 2 }, concurrent: 2, queued: 2, result_bytes: 100000 }
    groups: { survey: { requests: { tap: 4 } } }
    anonymous: { requests: { tap: 2 } }
    bypass: [operators]
"""


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre"), identity=QUOTAS) as served:
        yield served


@pytest.fixture
def clock(centre: IdentityCentre) -> Clock:
    """The centre's clock, which stands still, a minute after that of the test before."""
    now = Clock(centre.administration.store.now().replace(microsecond=0))
    now.advance(minutes=2)
    centre.administration.store.now = now
    return now


def rates(answer: httpx.Response) -> dict[str, str]:
    names = ("limit", "remaining", "used", "resource")
    return {name: answer.headers[f"x-ratelimit-{name}"] for name in names}


def bearer(secret: Secret) -> dict[str, str]:
    return {"authorization": f"Bearer {secret.text}"}


def test_every_answer_tells_how_the_caller_stands_and_one_too_many_is_refused(
    centre: IdentityCentre, clock: Clock
) -> None:
    centre.user("ada")
    ada = centre.token("ada")
    for used in (1, 2, 3):
        answer = centre.query(PUBLIC, ada)
        assert answer.status_code == 200
        assert rates(answer) == {"limit": "3", "remaining": str(3 - used), "used": str(used), "resource": "tap"}
    refused = centre.query(PUBLIC, ada)
    ends = datetime.fromtimestamp(int(refused.headers["x-ratelimit-reset"]), UTC)
    wait_s = round((ends - clock()).total_seconds())
    assert refused.status_code == 429
    assert 0 < wait_s <= 60
    assert refused.headers["retry-after"] == str(wait_s)
    assert rates(refused) == {"limit": "3", "remaining": "0", "used": "3", "resource": "tap"}
    assert refused.headers["content-type"].startswith("application/x-votable+xml")
    (resource,) = astropy.io.votable.parse(io.BytesIO(refused.content)).resources
    (status,) = [info for info in resource.infos if info.name == "QUERY_STATUS"]
    assert status.value == "ERROR"
    assert status.content == (
        "You have asked tap too often. Given: 3 requests in this minute. Allowed: 3 a minute, your quota. "
        f"Try again in {wait_s} s, at {ends:%H:%M:%S} UTC. "
        "/auth/quota shows your limits."
    )
    clock.advance(seconds=wait_s)
    assert rates(centre.query(PUBLIC, ada))["used"] == "1"


def test_groups_add_and_an_override_holds_at_once_until_it_ends(centre: IdentityCentre, clock: Clock) -> None:
    centre.user("bob")
    bob = centre.token("bob")
    assert rates(centre.query(PUBLIC, bob))["limit"] == "3"
    centre.administration.add_members("survey", ["bob"], actor=ME)
    assert rates(centre.query(PUBLIC, bob))["limit"] == "7"
    quotas = centre.quotas.quotas
    quotas.set("bob", {"tap": 50}, actor=ME, expires=clock.later(seconds=90))
    assert rates(centre.query(PUBLIC, bob)) == {"limit": "50", "remaining": "47", "used": "3", "resource": "tap"}
    clock.advance(seconds=90)
    assert rates(centre.query(PUBLIC, bob))["limit"] == "7"


def test_each_service_is_counted_for_itself_and_looking_at_jobs_is_not(centre: IdentityCentre, clock: Clock) -> None:
    centre.user("cat")
    headers = bearer(centre.token("cat"))
    cone = {"RA": "10", "DEC": "10", "SR": "1"}
    for status in (200, 200, 429):
        answer = http.get(f"{centre.url}/api/scs/demo.stars", params=cone, headers=headers)
        assert (answer.status_code, answer.headers["x-ratelimit-resource"]) == (status, "scs")
    assert 'ID="Error" name="Error" value="You have asked scs too often.' in answer.text
    job = http.post(f"{centre.tap}/async", data={"QUERY": PUBLIC}, headers=headers)
    assert rates(job)["used"] == "1"
    for path in ("", "/phase", "/results"):
        looked = http.get(f"{job.headers['location']}{path}", headers=headers)
        assert (looked.status_code, "x-ratelimit-limit" in looked.headers) == (200, False)
    assert "x-ratelimit-limit" not in http.get(f"{centre.tap}/capabilities", headers=headers).headers
    for _ in range(2):
        http.delete(job.headers["location"], headers=headers)
        job = http.post(f"{centre.tap}/async", data={"QUERY": PUBLIC}, headers=headers)
    refused = http.post(f"{centre.tap}/async", data={"QUERY": PUBLIC}, headers=headers)
    assert refused.status_code == 429
    assert refused.text.startswith("TransientFault: You have asked tap too often. Given: 3 requests in this minute.")
    http.delete(job.headers["location"], headers=headers)


def test_a_quota_of_nothing_refuses_and_bids_nobody_wait(centre: IdentityCentre, clock: Clock) -> None:
    centre.user("dot")
    dot = centre.token("dot")
    centre.quotas.quotas.set("dot", {"tap": 0}, actor=ME)
    refused = centre.query(PUBLIC, dot)
    assert (refused.status_code, "retry-after" in refused.headers) == (403, False)
    assert (
        "Your quota lets you ask tap nothing. Given: 0 requests a minute. "
        "Ask the operator of this centre. /auth/quota shows your limits."
    ) in refused.text


def test_callers_without_a_log_in_are_counted_by_address(centre: IdentityCentre, clock: Clock) -> None:
    def ask(address: str) -> httpx.Response:
        headers = {"x-forwarded-for": address}
        return http.post(f"{centre.tap}/sync", data={"LANG": "ADQL", "QUERY": PUBLIC}, headers=headers)

    assert [ask("192.0.2.1").status_code for _ in range(3)] == [200, 200, 429]
    assert "Allowed: 2 a minute, all callers without a log-in at 192.0.2.1." in ask("192.0.2.1").text
    assert ask("192.0.2.2").status_code == 200
    # One customer has a whole network of IPv6 addresses.
    seen = [ask(f"2001:db8:1:2::{number}").status_code for number in (1, 2, 3)]
    assert seen == [200, 200, 429]
    assert ask("2001:db8:1:3::1").status_code == 200
    told = http.get(f"{centre.url}/auth/api/v1/quota", headers={"x-forwarded-for": "192.0.2.2"}).json()
    assert (told["username"], told["limits"]["tap"]["used"], told["limits"]["tap"]["limit"]) == ("anonymous", 1, 2)


def test_administrators_and_members_of_bypass_groups_are_not_counted(centre: IdentityCentre, clock: Clock) -> None:
    centre.user("boss", admin=True)
    centre.user("ops")
    centre.administration.add_members("operators", ["ops"], actor=ME)
    for secret in (centre.token("boss", "read:tap", "admin"), centre.token("ops")):
        for _ in range(5):
            answer = centre.query(PUBLIC, secret)
            assert (answer.status_code, "x-ratelimit-limit" in answer.headers) == (200, False)


def test_pages_of_other_sites_may_read_the_headers(centre: IdentityCentre, clock: Clock) -> None:
    exposed = http.get(f"{centre.tap}/sync", params={"QUERY": PUBLIC}).headers["access-control-expose-headers"]
    assert {"X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"} <= set(exposed.split(", "))


def test_pyvo_says_how_long_to_wait(centre: IdentityCentre, clock: Clock) -> None:
    centre.user("dan")
    session = requests.Session()
    session.trust_env = False
    session.headers.update(bearer(centre.token("dan")))
    with foreign_clients():
        service = pyvo.dal.TAPService(centre.tap, session=session)
        for _ in range(3):
            assert len(service.run_sync(PUBLIC)) == 1
        # A synchronous answer is read as the VOTable that it is, and its text is what the user sees.
        with pytest.raises(pyvo.DALQueryError, match=r"You have asked tap too often\. .* Try again in \d+ s, at"):
            service.run_sync(PUBLIC)
        with pytest.raises(pyvo.DALRateLimitError) as met:
            service.submit_job(PUBLIC)
        assert 0 < met.value.retry_after_seconds <= 60


def test_jobs_beyond_the_quota_are_refused_and_a_full_store_says_what_to_delete(
    centre: IdentityCentre, clock: Clock
) -> None:
    centre.user("eve")
    centre.quotas.quotas.set("eve", {"tap": None, "result_bytes": 2000}, actor=ME)
    headers = bearer(centre.token("eve"))

    def make(**data: str) -> httpx.Response:
        return http.post(f"{centre.tap}/async", data={"QUERY": PUBLIC, "FORMAT": "csv", **data}, headers=headers)

    waiting = [make().headers["location"] for _ in range(2)]
    refused = make()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    assert refused.text.startswith("TransientFault: Too many of your jobs are waiting. Given: 2 waiting, 0 running.")
    for job in waiting:
        http.delete(job, headers=headers)
    done = make(QUERY="SELECT id, ra FROM demo.stars", PHASE="RUN", MAXREC="50", RUNID="first").headers["location"]
    until(lambda: http.get(f"{done}/phase", headers=headers).text in ("COMPLETED", "ERROR"))
    assert http.get(f"{done}/error", headers=headers).status_code == 404
    job_id = done.rpartition("/")[2]
    told = http.get(f"{centre.url}/auth/api/v1/quota", headers=headers).json()
    (kept,) = told["largest_results"]
    assert (kept["job"], kept["run_id"]) == (job_id, "first")
    assert told["limits"]["result_bytes"]["used"] == kept["bytes"] > 1000
    centre.quotas.quotas.set("eve", {"result_bytes": kept["bytes"]}, actor=ME)
    refused = make()
    assert refused.status_code == 413
    assert f"Delete jobs that you need no more; the largest are {job_id} (" in refused.text
    http.delete(done, headers=headers)
    assert make().status_code == 303


def test_a_person_sees_limits_on_a_page_and_programs_in_user_info(centre: IdentityCentre, clock: Clock) -> None:
    centre.user("fay")
    centre.quotas.quotas.set("fay", {"scs": 9}, actor=ME, expires=ahead(days=1))
    centre.query(PUBLIC, centre.token("fay"))
    with centre.browser() as browser:
        assert browser.get("/auth/quota", headers={"accept": "application/xhtml+xml"}).status_code == 303
        centre.log_in("fay", browser)
        text = browser.get("/auth/quota").text
        info = browser.get("/auth/api/v1/user-info").json()
    assert '<strong>Queries by TAP</strong><span style="text-align:right">1 of 3 requests a minute</span>' in text
    assert "default 2 · synchronous queries have as many besides" in text
    assert "default 3 · begins anew at" in text
    assert "fay 9 (set by the operator until" in text
    assert info["quota"] == {"api": {"tap": 3, "scs": 9}, "tap": {"tap": {"concurrent": 2}}}


PROCESSES = """\
server: { processes: 2 }
engine: { memory_gib: 1, threads: 2, interactive_places: 2, heavy_places: 2 }
jobs: { workers: 2 }
catalogs: { default_read: [public] }
identity:
  enabled: true
  quotas: { default: { requests: { tap: 40 } } }
"""


def test_processes_count_together(tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text(PROCESSES)
    process = IdacProcess(tmp_path)
    process.start()
    try:
        loaded = load_settings(DacSettings, tmp_path / "dac.yaml")
        administration = open_administration(loaded, open_state(loaded))
        administration.add_account("ada", actor=ME)
        headers = bearer(administration.add_token("ada", "test", actor=ME)[1])
        seen: dict[str, Counter[int]] = {}
        data = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 table_name FROM tap_schema.tables"}
        end = time.monotonic() + 120
        # A minute may end meanwhile: what counts is that there is one in which the limit was reached, and none over it.
        while not any(count[429] for count in seen.values()) and time.monotonic() < end:
            answer = http.post(f"{process.tap}/sync", data=data, headers=headers)  # a connection of its own each time
            seen.setdefault(answer.headers["x-ratelimit-reset"], Counter())[answer.status_code] += 1
    finally:
        process.stop()
    assert max(count[200] for count in seen.values()) <= 40
    full = [count for count in seen.values() if count[429]]
    assert full
    assert all(count[200] >= 30 for count in full)
