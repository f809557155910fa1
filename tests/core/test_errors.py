"""Errors say four things, survive a process boundary, and stay readable when the refused value is huge."""

from __future__ import annotations

import pickle

import pytest

from idac.core import errors
from idac.core.errors import BadParameter, BadQuery, Position, UserError

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UserError)]


def test_text_has_what_value_allowed_and_next_step() -> None:
    error = BadParameter(
        "MAXREC must be a whole number.",
        value="many",
        allowed="0 to 1000000",
        next_step="Leave it out for the default.",
    )
    assert str(error) == (
        "MAXREC must be a whole number. Given: many. Allowed: 0 to 1000000. Leave it out for the default."
    )


def test_text_begins_with_the_place_where_one_is_known() -> None:
    error = BadQuery("Unknown column.", value="rra", position=Position(2, 7))
    assert str(error) == "line 2, column 7: Unknown column. Given: rra."
    assert str(Position(1, 3, "dac.yaml")) == "dac.yaml, line 1, column 3"


def test_a_huge_value_is_cut_to_a_readable_length() -> None:
    error = BadQuery("The query is too long.", value="x" * 50_000_000)
    assert len(str(error)) < 300
    assert "(50000000 characters)" in str(error)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda k: k.__name__)
def test_every_kind_survives_pickling_with_all_its_parts(kind: type[UserError]) -> None:
    error = kind("No.", value=1, allowed="2", next_step="Ask.", position=Position(1, 2))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy.text == error.text == "line 1, column 2: No. Given: 1. Allowed: 2. Ask."


def test_codes_are_unique_so_that_clients_can_tell_kinds_apart() -> None:
    codes = [kind.code for kind in FAMILY]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", FAMILY, ids=lambda k: k.__name__)
def test_every_kind_has_a_client_or_server_status_and_a_failing_exit_code(kind: type[UserError]) -> None:
    assert 400 <= kind.status < 600
    assert 0 < kind.exit_code < 256
    assert kind.dali.endswith("Fault")
