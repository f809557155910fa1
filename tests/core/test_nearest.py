"""Which known name was probably meant."""

from __future__ import annotations

import pytest

from idac.core.nearest import nearest


@pytest.mark.parametrize(
    ("name", "meant"),
    [("taem", "team"), ("Bobb", "bob"), ("dp1-tem", "dp1-team"), ("bobolink-observers", None), ("x", None), ("", None)],
)
def test_only_a_name_that_is_near_is_told(name: str, meant: str | None) -> None:
    assert nearest(name, ["bob", "team", "dp1-team"]) == meant


def test_where_nothing_is_known_nothing_is_near() -> None:
    assert nearest("bob", []) is None
