"""Rights: a table's own rule wins over its schema's, and what nobody mentioned is closed."""

from __future__ import annotations

import pytest

from idac.core.errors import AccessDenied, NotAuthenticated
from idac.core.principal import ANONYMOUS, LOCAL_ADMIN, Principal
from idac.core.rights import ReadRule, RightsPolicy

MEMBER = Principal("ada", "user", groups=frozenset({"dp2"}))
POLICY = RightsPolicy(
    rules={
        "tycho2": ReadRule.of(["public"]),
        "dp2": ReadRule.of(["dp2", "staff"]),
        "dp2.visits": ReadRule.of(["public"]),
        "tycho2.private": ReadRule.of([]),
    },
    default=ReadRule.of([]),
)


@pytest.mark.parametrize(
    ("principal", "schema", "table", "allowed"),
    [
        (ANONYMOUS, "tycho2", "main", True),
        (ANONYMOUS, "TYCHO2", "Main", True),
        (ANONYMOUS, "dp2", "object", False),
        (MEMBER, "dp2", "object", True),
        (ANONYMOUS, "dp2", "visits", True),
        (MEMBER, "tycho2", "private", False),
        (ANONYMOUS, "unheard", "of", False),
        (LOCAL_ADMIN, "unheard", "of", True),
    ],
)
def test_who_may_read_what(principal: Principal, schema: str, table: str, allowed: bool) -> None:
    assert POLICY.may_read(principal, schema, table) is allowed


def test_a_refusal_names_the_groups_that_would_be_enough() -> None:
    with pytest.raises(AccessDenied) as refused:
        POLICY.require_read(ANONYMOUS, "dp2", "object")
    assert str(refused.value) == (
        "You may not read dp2.object. Given: caller anonymous. Allowed: members of dp2, staff. "
        "Log in with an account that has this right, or ask the operator for it."
    )


def test_a_rule_for_nobody_says_that_only_administrators_may_read() -> None:
    with pytest.raises(AccessDenied, match="administrators of this centre"):
        POLICY.require_read(MEMBER, "tycho2", "private")


RIGHTS = RightsPolicy(
    rules={"dp1": ReadRule.of(["staff"], ["dp1"]), "dp2": ReadRule.of([], ["dp2"])},
    default=ReadRule.of([]),
    how_to_ask={"dp1": "write to dp1@example.org."},
    has_log_in=True,
)


def test_a_data_right_opens_what_it_is_attached_to_and_nothing_else() -> None:
    holder = Principal("eve", "user", rights=frozenset({"dp1"}))
    assert RIGHTS.may_read(holder, "DP1", "object")
    assert not RIGHTS.may_read(holder, "dp2", "object")
    assert RIGHTS.may_read(Principal("bob", "user", groups=frozenset({"staff"})), "dp1", "object")
    assert not RIGHTS.may_read(Principal("joe", "user", groups=frozenset({"dp1"})), "dp1", "object")


def test_a_refusal_names_the_right_and_how_to_ask_for_it() -> None:
    with pytest.raises(AccessDenied) as refused:
        RIGHTS.require_read(MEMBER, "dp1", "object")
    assert str(refused.value) == (
        "You may not read dp1.object. Given: caller ada. Allowed: holders of the data right dp1 and members of staff. "
        "To ask for dp1: write to dp1@example.org."
    )


def test_a_token_that_can_not_be_an_administrators_is_told_so_where_that_would_be_enough() -> None:
    narrow = Principal("boss", "user", scopes=frozenset({"read:tap"}))
    with pytest.raises(AccessDenied) as refused:
        RIGHTS.require_read(narrow, "tycho2", "main")
    assert str(refused.value) == (
        "You may not read tycho2.main. Given: caller boss. Allowed: administrators of this centre. "
        "Administrators need a token with the scope admin, from /auth/tokens; others ask the operator."
    )
    with pytest.raises(AccessDenied) as refused:
        RIGHTS.require_read(narrow, "dp1", "object")
    assert "scope" not in str(refused.value)


def test_who_has_not_logged_in_is_asked_to_first() -> None:
    with pytest.raises(NotAuthenticated) as refused:
        RIGHTS.require_read(ANONYMOUS, "dp1", "object")
    assert str(refused.value) == (
        "You may not read dp1.object. Given: caller anonymous. "
        "Allowed: holders of the data right dp1 and members of staff. "
        "Log in, or send a token, of an account that has the right. To ask for dp1: write to dp1@example.org."
    )


def test_a_token_is_for_its_scopes_and_a_session_for_all() -> None:
    assert MEMBER.may_use("admin")
    limited = Principal("ada", "user", scopes=frozenset({"read:tap"}))
    assert limited.may_use("read:tap")
    assert not limited.may_use("user:token")


def test_only_the_owner_and_administrators_own_a_thing() -> None:
    assert MEMBER.owns("ada")
    assert not MEMBER.owns("bob")
    assert LOCAL_ADMIN.owns("bob")
