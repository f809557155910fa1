"""Quotas: what groups add up to, what an administrator sets in their place, and how requests are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from idac.core.errors import BadParameter, NotFound, StoreUnavailable
from idac.core.principal import ANONYMOUS, Principal
from idac.core.quota import LIMITS, UNLIMITED, JobUse, Quota, shown_bytes
from idac.identity.administration import Administration
from idac.identity.quota_report import Reports, report_json
from idac.identity.quota_settings import QuotaSettings
from idac.identity.quotas import Quotas
from idac.identity.rates import WINDOW_MS, RateCounter, take, window_end
from idac.identity.schema import RATES
from idac.identity.store import IdentityStore, ms
from identity_clock import Clock

ME = "local:tester"
SETTINGS = QuotaSettings.model_validate(
    {
        "default": {"requests": {"tap": 100}, "concurrent": 2, "result_bytes": 1000},
        "groups": {
            "survey": {"requests": {"tap": 400}, "concurrent": 3},
            "staff": {"requests": {"tap": 50}, "result_bytes": 500},
        },
        "anonymous": {"requests": {"tap": 10, "scs": 20}, "queued": 1},
        "bypass": ["operators"],
    }
)


class Away:
    """A state database that does not answer."""

    @property
    def begin(self) -> object:
        raise StoreUnavailable("The state database does not answer.")

    read = begin


@pytest.fixture
def quotas(store: IdentityStore) -> Quotas:
    return Quotas(store, SETTINGS, 0)


def user(*groups: str, is_admin: bool = False) -> Principal:
    return Principal("ada", "user", frozenset(groups), is_admin)


# -- whose quota is how much -------------------------------------------------------------------------------------------


def test_groups_add_to_what_everyone_has(quotas: Quotas) -> None:
    expected = [
        (user(), Quota(tap=100, concurrent=2, result_bytes=1000)),
        (user("survey"), Quota(tap=500, concurrent=5, result_bytes=1000)),
        (user("survey", "staff", "others"), Quota(tap=550, concurrent=5, result_bytes=1500)),
        (user("survey", "operators"), UNLIMITED),
        (user("survey", is_admin=True), UNLIMITED),
        (ANONYMOUS, Quota(tap=10, scs=20, queued=1)),
    ]
    assert [quotas.of(caller) for caller, _ in expected] == [quota for _, quota in expected]


def test_a_group_that_adds_to_nothing_is_an_error() -> None:
    words = "must limit scs, queued in default too, where team adds to it"
    with pytest.raises(ValidationError, match=words):
        QuotaSettings.model_validate({"groups": {"team": {"requests": {"scs": 5}, "queued": 2}}})


@pytest.fixture
def people(administration: Administration) -> Administration:
    administration.add_account("ada", actor=ME)
    administration.add_account("boss", actor=ME, is_admin=True)
    administration.add_members("survey", ["ada"], actor=ME)
    return administration


def test_the_quota_of_a_jobs_owner_is_that_of_the_account(quotas: Quotas, people: Administration) -> None:
    assert quotas.of_owner("ada", anonymous=False) == quotas.of(user("survey"))
    assert quotas.of_owner("boss", anonymous=False) == UNLIMITED
    assert quotas.of_owner("anonymous@192.0.2.1", anonymous=True) == quotas.of(ANONYMOUS)
    people.remove_members("survey", ["ada"], actor=ME)
    assert quotas.of_owner("ada", anonymous=False) == quotas.of(user())


def test_an_accounts_limit_stands_for_all_that_it_would_have_until_it_ends(
    quotas: Quotas, people: Administration, clock: Clock
) -> None:
    quotas.set("ada", {"tap": 7, "concurrent": None, "scs": 3}, actor=ME, expires=clock.later(days=1))
    assert quotas.of(user("survey")) == Quota(tap=7, scs=3, result_bytes=1000)
    clock.advance(days=1)
    assert quotas.of(user("survey")) == Quota(tap=500, concurrent=5, result_bytes=1000)
    (first, *_), others = quotas.overrides(), Principal("bob", "user", frozenset({"survey"}))
    assert not first.holds(clock())
    assert quotas.of(others).tap == 500


def test_a_groups_limit_stands_for_what_the_group_adds(quotas: Quotas, people: Administration) -> None:
    quotas.set("survey", {"tap": 1000, "result_bytes": 9}, actor=ME)
    assert quotas.of(user("survey", "staff")) == Quota(tap=1150, concurrent=5, result_bytes=1509)
    quotas.set("survey", {"tap": None}, actor=ME)
    assert quotas.of(user("survey", "staff")).tap is None
    with pytest.raises(BadParameter) as refused:
        quotas.set("survey", {"scs": 5}, actor=ME)
    assert refused.value.text == (
        "A group only adds to what everyone's quota limits. Given: scs of survey. "
        "Set it for an account, or set identity.quotas.default first."
    )


def test_what_was_set_can_be_taken_back_and_all_is_written_down(
    quotas: Quotas, people: Administration, clock: Clock
) -> None:
    until = clock.later(hours=1)
    quotas.set("ada", {"tap": 7, "scs": None}, actor=ME, expires=until)
    assert quotas.remove("ada", ["scs"], actor=ME) == 1
    assert [each.limit for each in quotas.overrides()] == ["tap"]
    assert quotas.remove("ada", actor=ME) == 1
    with pytest.raises(NotFound) as refused:
        quotas.remove("ada", ["tap"], actor=ME)
    assert refused.value.text == (
        "No limit was set for this account or group. Given: ada tap. idac quota list shows those there are."
    )
    written = people.store.iter_audit(actions=["quota set", "quota remove"])
    assert [(entry.actor, entry.subject, entry.detail) for entry in written] == [
        (ME, "ada", {"limits": {"tap": 7, "scs": "unlimited"}, "expires": until.isoformat()}),
        (ME, "ada", {"limits": ["scs"]}),
        (ME, "ada", {"limits": "all"}),
    ]


def test_what_cannot_be_set_is_refused(quotas: Quotas, people: Administration, clock: Clock) -> None:
    for name, hours, words in (
        ("bob", 1, "There is no account or group of this name. Given: bob."),
        ("ada", -1, "The limit would have ended already. Given: 2026-11-24 11:00 UTC."),
    ):
        with pytest.raises((BadParameter, NotFound)) as refused:
            quotas.set(name, {"tap": 1}, actor=ME, expires=clock.later(hours=hours))
        assert refused.value.text.startswith(words)
    assert quotas.overrides() == []


def test_another_process_sees_a_limit_after_its_next_look(store: IdentityStore, people: Administration) -> None:
    here, there = Quotas(store, SETTINGS, 0), Quotas(store, SETTINGS, 1000)
    assert there.of(user()).tap == 100
    here.set("ada", {"tap": 7}, actor=ME)
    assert there.is_fresh
    assert there.of(user()).tap == 100
    there._check_s = 0
    assert there.of(user()).tap == 7


def test_limits_hold_as_they_were_while_the_database_is_away(quotas: Quotas, people: Administration) -> None:
    quotas.set("ada", {"tap": 7}, actor=ME)
    assert quotas.of(user()).tap == 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people.store, "_database", Away())
        assert quotas.of(user()).tap == 7
        assert quotas.of(ANONYMOUS).tap == 10


# -- counting ----------------------------------------------------------------------------------------------------------


def ask(counter: RateCounter, times: int, limit: int, subject: str = "ada") -> list[bool]:
    async def run() -> list[bool]:
        return [(await counter.count(subject, "tap", limit)).allowed for _ in range(times)]

    return asyncio.run(run())


def test_as_many_requests_as_the_limit_are_let_in_by_one_process(store: IdentityStore) -> None:
    for limit in (0, 1, 7, 100):
        assert ask(RateCounter(store), limit + 5, limit, f"user{limit}") == [True] * limit + [False] * 5


def test_two_processes_let_in_no_more_than_the_limit_together(store: IdentityStore) -> None:
    first, second = RateCounter(store), RateCounter(store)

    async def run() -> list[bool]:
        found = []
        for _ in range(80):
            found += [(await each.count("ada", "tap", 100)).allowed for each in (first, second)]
        return found

    allowed = asyncio.run(run())
    assert sum(allowed) == 100
    assert not any(allowed[-20:])


def test_what_a_silent_process_keeps_for_itself_is_little(store: IdentityStore) -> None:
    """It took at most as much as it had used, and at most an eighth of what was left."""
    silent = RateCounter(store)
    assert all(ask(silent, 9, 100))
    let_in = sum(ask(RateCounter(store), 200, 100))
    assert 100 - 9 - 9 <= let_in <= 100 - 9


def test_requests_at_the_same_moment_are_all_counted(store: IdentityStore) -> None:
    counter = RateCounter(store)

    async def run() -> list[bool]:
        counts = await asyncio.gather(*(counter.count("ada", "tap", 30) for _ in range(50)))
        return [count.allowed for count in counts]

    assert sum(asyncio.run(run())) == 30


def test_a_caller_who_asks_much_costs_few_writes(store: IdentityStore, monkeypatch: pytest.MonkeyPatch) -> None:
    counter, writes = RateCounter(store), []
    write = counter._write
    monkeypatch.setattr(counter, "_write", lambda *given: (writes.append(1), write(*given))[1])
    assert all(ask(counter, 5000, 100_000))
    assert len(writes) <= 13  # shares of 1, 2, 4 … 4096
    assert ask(counter, 3, 5000) == [False] * 3
    assert len(writes) <= 13


def test_a_minute_later_all_is_forgotten_and_rows_are_cleared(store: IdentityStore, clock: Clock) -> None:
    counter = RateCounter(store)
    assert ask(counter, 3, 2) == [True, True, False]
    ask(counter, 1, 2, "bob")
    clock.advance(minutes=1)
    assert ask(counter, 3, 2) == [True, True, False]
    assert counter.used("ada", "tap") == (2, window_end("ada", ms(clock())))
    clock.advance(minutes=5)
    ask(counter, 1, 2)
    with store.read() as records:
        assert [row.subject for row in records.connection.execute(RATES.select())] == ["ada"]


def test_a_process_whose_clock_is_behind_gives_nobody_a_minute_back(store: IdentityStore, clock: Clock) -> None:
    ends = window_end("ada", ms(clock()))
    with store.write() as records:
        assert take(records, "ada", "tap", ends, 8, 10) == (8, 8)
        assert take(records, "ada", "tap", ends - WINDOW_MS, 1, 10) == (1, 9)
        assert take(records, "ada", "tap", ends, 8, 10) == (1, 10)
        assert take(records, "ada", "tap", ends - WINDOW_MS, 1, 10) == (0, 10)
    assert RateCounter(store).used("ada", "tap") == (10, ends)


def test_callers_begin_their_minutes_at_different_moments(clock: Clock) -> None:
    now = ms(clock())
    ends = {window_end(f"user{number}", now) for number in range(100)}
    assert len(ends) > 30
    assert all(now < end <= now + 60_000 for end in ends)


def test_a_limit_that_changes_holds_at_once(store: IdentityStore) -> None:
    counter = RateCounter(store)
    assert ask(counter, 4, 3) == [True, True, True, False]
    assert ask(counter, 3, 5) == [True, True, False]
    assert ask(counter, 1, 2) == [False]


def test_requests_are_counted_in_the_process_while_the_database_is_away(store: IdentityStore) -> None:
    counter = RateCounter(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_database", Away())
        assert ask(counter, 4, 3) == [True, True, True, False]


# -- telling -----------------------------------------------------------------------------------------------------------


def test_a_report_tells_each_limit_its_use_and_where_it_comes_from(
    store: IdentityStore, quotas: Quotas, people: Administration, clock: Clock
) -> None:
    counter = RateCounter(store)
    ask(counter, 12, 500)
    quotas.set("ada", {"queued": 4}, actor=ME, expires=clock.later(days=7))
    uses: Mapping[str, JobUse] = {"ada": JobUse(waiting=3, running=1, result_bytes=400)}
    report = Reports(quotas, counter, uses.__getitem__).of(user("survey"), "ada")
    told = {each.limit: (each.words, each.origin) for each in report.standings}
    assert told == {
        "tap": ("12 of 500", "default 100 + survey 400"),
        "scs": ("0, not limited", ""),
        "concurrent": ("1 of 5", "default 2 + survey 3"),
        "queued": ("3 of 4", "ada 4 (set by the operator until 2026-12-01 12:00 UTC)"),
        "result_bytes": ("400 bytes of 1 kB", "default 1 kB"),
    }
    limits = report_json(report)["limits"]
    assert isinstance(limits, dict)
    assert {name: (one["limit"], one["used"], one["remaining"]) for name, one in limits.items()} == {
        "tap": (500, 12, 488), "scs": (None, 0, None), "concurrent": (5, 1, 4), "queued": (4, 3, 1),
        "result_bytes": (1000, 400, 600),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_500_000_000, "1.5 GB"), (2 * 10**16, "20 PB")],
)
def test_bytes_are_told_as_people_write_them(size: int, words: str) -> None:
    assert shown_bytes(size) == words


def test_limits_have_one_list_of_names() -> None:
    assert tuple(Quota.__dataclass_fields__) == LIMITS
