"""A look at whose work is running, where looking at some of it fails."""

from __future__ import annotations

import pytest

from idac.core.errors import AccessDenied, StoreUnavailable, UserError
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.directory import Directory
from idac.identity.watch import CallerWatch

ME = "local:tester"


class Work:
    """A piece of work, and the reasons for which it was stopped."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.reasons = list(faults), list[str]()

    def check(self, _now: Principal) -> None:
        if self.faults:
            raise self.faults.pop(0)

    def stop(self, reason: UserError) -> None:
        self.reasons.append(reason.text)


@pytest.fixture
def watch(administration: Administration) -> CallerWatch:
    for name in ("ada", "bob"):
        administration.add_account(name, actor=ME)
    return CallerWatch(Directory(administration.store), 1.0)


def add(watch: CallerWatch, name: str, work: Work) -> None:
    watch.add(Principal(name, "user"), work.check, work.stop)


def test_a_check_that_fails_keeps_nobody_elses_work_going(watch: CallerWatch, administration: Administration) -> None:
    others = [Work() for _ in range(10)]
    for number, work in enumerate(others):
        add(watch, "ada", Work(RuntimeError(f"fault {number}")))
        add(watch, "bob", work)
    administration.freeze("bob", "stolen", actor=ME)
    watch.look()
    assert {tuple(work.reasons) for work in others} == {
        ("This account is frozen. Given: bob. Ask the operator of this centre.",)
    }


def test_work_that_can_not_be_judged_goes_on_for_two_looks_and_no_longer(watch: CallerWatch) -> None:
    broken, once = Work(*(RuntimeError("x") for _ in range(9))), Work(RuntimeError("x"), RuntimeError("x"))
    for work in (broken, once):
        add(watch, "ada", work)
    for _ in range(2):
        watch.look()
        assert broken.reasons == []
    once.faults = []
    for _ in range(2):
        watch.look()
    once.faults = [RuntimeError("x"), RuntimeError("x")]
    for _ in range(3):
        watch.look()
    assert broken.reasons == ["Nobody can tell whether you may have this any more."]
    assert once.reasons == []


def test_work_that_can_not_be_stopped_keeps_nobody_elses_going(watch: CallerWatch) -> None:
    class Stubborn(Work):
        def stop(self, reason: UserError) -> None:
            raise RuntimeError(reason.text)

    refused = [Stubborn(AccessDenied("No.")), Work(AccessDenied("No.")), Stubborn(AccessDenied("No."))]
    for work in refused:
        add(watch, "ada", work)
    watch.look()
    watch.look()
    assert refused[1].reasons == ["No."]


def test_while_the_state_database_is_away_nobody_is_judged(
    watch: CallerWatch, administration: Administration, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    add(watch, "ada", work)

    def away(_self: Directory, _principal: Principal) -> Principal:
        raise StoreUnavailable("It does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "current", away)
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                watch.look()
    administration.freeze("ada", "stolen", actor=ME)
    assert work.reasons == []
    watch.look()
    assert len(work.reasons) == 1
