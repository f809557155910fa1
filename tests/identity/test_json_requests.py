"""What is wrong with a request in JSON is said of what was sent."""

from __future__ import annotations

from typing import Any

import pytest

from idac.core.errors import BadParameter
from idac.identity.json_requests import json_object, text_of


def test_a_key_that_nobody_knows_is_refused_with_the_nearest() -> None:
    for body, words in (
        (b'{"token_name": "x", "expire": 1}', "Given: expire. Allowed: token_name, expires. Did you mean expires?"),
        (b'{"zzz": 1}', "Given: zzz. Allowed: token_name, expires. Leave it out."),
    ):
        with pytest.raises(BadParameter) as refused:
            json_object(body, "token_name", "expires")
        assert str(refused.value) == f"There is no such key. {words}"
    assert json_object(b'{"expires": null}', "token_name", "expires") == {"expires": None}


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
