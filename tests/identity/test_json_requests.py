"""What is wrong with a request in JSON is said of what was sent."""

from __future__ import annotations

from typing import Any

import pytest

from idac.core.errors import BadParameter
from idac.identity.json_requests import text_of


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "name is missing. Allowed: text."),
        ({"name": None}, "name is missing. Allowed: text."),
        ({"name": 5}, "name is no text. Given: 5. Allowed: text, in quotes."),
        ({"name": ["x"]}, 'name is no text. Given: ["x"]. Allowed: text, in quotes.'),
        ({"name": ""}, "name is empty. Allowed: text."),
    ],
)
def test_a_text_that_is_none_is_told_as_what_it_is(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadParameter) as refused:
        text_of(asked, "name")
    assert str(refused.value) == words
