"""How many queries a caller runs at once, and what becomes of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from archive_fixture import build_archive, star_table
from idac.catalogs.archive import Archive
from idac.core.errors import AccessDenied, Cancelled, ResourceExhausted, TooOften
from idac.core.principal import Principal
from idac.core.quota import UNLIMITED, Quota
from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.query.adql.compiler import QueryCompiler
from idac.query.service import QueryRequest, QueryService
from idac.query.settings import QuerySettings
from idac.query.turns import Turns
from idac.tables.formats import FORMATS
from services.scripted_engine import Script, ScriptedEngine
from services.waiting import until


class Asking(threading.Thread):
    """Asks for a turn, as a request does in its thread."""

    def __init__(self, turns: Turns, owner: str, quota: Quota, name: str, timeout_s: float = 60) -> None:
        super().__init__(daemon=True)
        self._ask = lambda: turns.take(owner, quota, name, timeout_s)
        self.give: Callable[[], None] | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.give = self._ask()
        except Exception as error:  # noqa: BLE001
            self.error = error


def test_queries_beyond_the_quota_wait_in_order_and_others_do_not() -> None:
    turns, two = Turns(), Quota(concurrent=2)
    gives = [turns.take("ada", two, f"q{n}", 60) for n in range(2)]
    third = Asking(turns, "ada", two, "q2")
    until(lambda: turns.use("ada") == (2, 1))
    fourth = Asking(turns, "ada", two, "q3")
    until(lambda: turns.use("ada") == (2, 2))
    turns.take("ben", two, "other", 60)()
    gives[1]()
    third.join(60)
    assert third.give is not None
    assert turns.use("ada") == (2, 1)
    gives[1]()  # once given back, nothing is there to give
    assert turns.use("ada") == (2, 1)
    third.give()
    fourth.join(60)
    assert fourth.give is not None
    fourth.give()
    gives[0]()
    assert turns.use("ada") == (0, 0)


def test_more_than_may_wait_are_refused_with_the_limit() -> None:
    turns, quota = Turns(), Quota(concurrent=1, queued=1)
    give = turns.take("ada", quota, "q0", 60)
    waiting = Asking(turns, "ada", quota, "q1")
    until(lambda: turns.use("ada") == (1, 1))
    with pytest.raises(TooOften) as refused:
        turns.take("ada", quota, "q2", 60)
    assert refused.value.text == (
        "Too many of your queries are waiting. Given: 1 waiting. Allowed: 1 that run at once and 1 that wait, your "
        "quota. Wait until one of them has ended. /auth/quota shows your limits."
    )
    assert refused.value.retry_after_s == 10
    give()
    waiting.join(60)
    assert waiting.give is not None


def test_a_query_that_waits_can_be_stopped() -> None:
    turns, one = Turns(), Quota(concurrent=1)
    give = turns.take("ada", one, "q0", 60)
    waiting = Asking(turns, "ada", one, "q1")
    until(lambda: turns.use("ada") == (1, 1))
    turns.cancel("q1")
    waiting.join(60)
    assert str(waiting.error) == "The query was stopped while it waited for its turn."
    assert isinstance(waiting.error, Cancelled)
    assert turns.use("ada") == (1, 0)
    give()


def test_a_query_whose_time_is_over_is_told_so() -> None:
    turns, one = Turns(), Quota(concurrent=1)
    give = turns.take("ada", one, "q0", 60)
    with pytest.raises(ResourceExhausted) as refused:
        turns.take("ada", one, "q1", 0.01)
    assert refused.value.text == (
        "The query's time was over while your other queries ran. Given: 0.01 s. Run fewer queries at once, or submit "
        "them as asynchronous jobs."
    )
    give()
    assert turns.use("ada") == (0, 0)


def test_a_process_has_its_share_rounded_up() -> None:
    turns, five = Turns(processes=4), Quota(concurrent=5, queued=0)
    for number in range(2):
        turns.take("ada", five, f"q{number}", 60)
    with pytest.raises(TooOften):
        turns.take("ada", five, "q2", 60)


def test_whoever_has_no_quota_is_not_counted() -> None:
    turns = Turns()
    turns.take("ada", UNLIMITED, "q0", 60)
    assert turns.use("ada") == (0, 0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return build_archive(tmp_path_factory.mktemp("archive"), {"demo.stars": star_table(10)})


def test_a_query_holds_its_turn_until_it_is_closed_and_jobs_need_none(archive: Archive) -> None:
    quota = Quota(concurrent=1, queued=0)
    rights = RightsPolicy({}, ReadRule.of([PUBLIC]))
    service = QueryService(
        archive, ScriptedEngine(), QueryCompiler(rights), QuerySettings(), turns=Turns(), quota_of=lambda _: quota
    )
    ada, asked = Principal("ada", "user"), QueryRequest("SELECT id FROM demo.stars", FORMATS["csv"], 60)
    first = service.run(asked, ada, query_id="q0", owner="ada")
    with pytest.raises(TooOften):
        service.run(asked, ada, query_id="q1", owner="ada")
    service.run(asked, ada, query_id="job.1").close()
    service.run(asked, Principal("ben", "user"), query_id="q2", owner="ben").close()
    first.close()
    service.run(asked, ada, query_id="q3", owner="ada").close()


def test_a_query_that_fails_gives_its_turn_back(archive: Archive) -> None:
    turns = Turns()
    rights = RightsPolicy({}, ReadRule.of([PUBLIC]))
    engine = ScriptedEngine(Script(start_error=ResourceExhausted("The query needs more memory.")))
    one = Quota(concurrent=1)
    service = QueryService(archive, engine, QueryCompiler(rights), QuerySettings(), turns=turns, quota_of=lambda _: one)
    asked = QueryRequest("SELECT id FROM demo.stars", FORMATS["csv"], 60)
    for number in range(2):
        with pytest.raises(ResourceExhausted):
            service.run(asked, Principal("ada", "user"), query_id=f"q{number}", owner="ada")
    assert turns.use("ada") == (0, 0)


def test_who_may_run_nothing_is_told_at_once_and_does_not_wait() -> None:
    with pytest.raises(AccessDenied) as caught:
        Turns().take("ada", Quota(concurrent=0), "q1", 600)
    assert caught.value.text == (
        "Your quota lets you run no queries here. Given: 0 at once. "
        "Ask the operator of this centre. /auth/quota shows your limits."
    )
