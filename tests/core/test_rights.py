"""Rights: a table's own rule wins over its schema's, and what nobody mentioned is closed."""

from __future__ import annotations

import pytest

from idac.core.errors import AccessDenied
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


def test_only_the_owner_and_administrators_own_a_thing() -> None:
    assert MEMBER.owns("ada")
    assert not MEMBER.owns("bob")
    assert LOCAL_ADMIN.owns("bob")
