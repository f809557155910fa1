"""Pages of groups as they are made, without a browser."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from idac.identity.group_model import GroupView, Invitation, UserGroup
from idac.identity.model import Member
from idac.identity.pages_groups import Visit, group_body
from idac.identity.settings import UserGroupSettings
from idac.web.pages import xhtml_page

NOW = datetime(2026, 11, 29, tzinfo=UTC)
GROUP = UserGroup(1, "dp2-team", 100_001, "Those & others", "ada", False, NOW)
MEMBERS = (Member("ada", None, None),)
ADA = Visit("ada", "form")


def owners_page(settings: UserGroupSettings | None = None, **view: object) -> str:
    body = group_body(
        GroupView(GROUP, "owner", MEMBERS, frozenset(), **view),  # type: ignore[arg-type]
        ADA,
        settings or UserGroupSettings(),
    )
    return xhtml_page("Group", body).body.decode()


def test_an_owner_is_told_who_can_give_the_name_of_a_deleted_group_again() -> None:
    assert "nobody gets the name again but by the operator of this centre." in owners_page()


def test_a_group_that_counts_for_nobody_says_so() -> None:
    words = "This group counts for nobody now:</strong> its name has come to mean something else at this centre."
    assert words in owners_page(unmeant=True)
    assert words not in owners_page()


@pytest.mark.parametrize(
    ("longest_s", "lives"),
    [(3600, []), (86_400, ["1"]), (604_800, ["1", "7"]), (30 * 86_400, ["1", "7", "30"])],
)
def test_no_life_of_an_invitation_is_offered_that_would_be_refused(longest_s: int, lives: list[str]) -> None:
    page = owners_page(UserGroupSettings(invitation_s=longest_s))
    offered = page.partition('<select name="days">')[2].partition("</select>")[0]
    assert [part.partition('"')[0] for part in offered.split('value="')[1:]] == lives
    assert page.count('name="days"') == 2 * bool(lives)


def test_where_people_make_no_groups_nobody_is_offered_to_invite() -> None:
    assert "Invite this account" in owners_page()
    page = owners_page(UserGroupSettings(enabled=False))
    assert "Invite" not in page
    assert "Delete the group" in page


def test_an_invitation_that_lets_nobody_in_is_told_apart() -> None:
    def asked(*, holds: bool) -> Invitation:
        return Invitation("k", "dp2-team", "", "bob", "cyd", 1, NOW, NOW, None, holds, by_administrator=False)

    assert '<td data-title="Ends">2026-11-29</td>' in owners_page(invitations=(asked(holds=True),))
    assert '<td data-title="Ends">lets nobody in now</td>' in owners_page(invitations=(asked(holds=False),))
