"""The page of tokens as it is made, without a browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from idac.core.principal import Principal
from idac.identity.model import Token
from idac.identity.pages import tokens_body

NOW = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        (None, "never"),
        (NOW + timedelta(minutes=15), "2026-11-29 12:45"),
        (NOW + timedelta(days=6), "2026-12-05 12:30"),
        (NOW + timedelta(days=30), "2026-12-29"),
        (NOW - timedelta(minutes=15), "2026-11-29"),
    ],
)
def test_a_token_that_ends_soon_is_shown_with_the_time(ends: datetime | None, shown: str) -> None:
    token = Token("k" * 22, "ada", "user", "laptop", frozenset({"read:tap"}), NOW - timedelta(days=1), ends)
    body = tokens_body(Principal("ada", "user"), [token], "form", ["read:tap"], NOW, None)
    assert f'<td data-title="Ends">{shown}</td>' in body
