"""Providers in dac.yaml: what is refused there, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from idac.core.errors import BadConfiguration
from idac.core.loading import load_settings
from idac.wiring.app import build_centre
from idac.wiring.settings import DacSettings

GOOD = {"issuer": "https://sso.example.org/realms/dac", "client_id": "idac"}


def load(folder: Path, providers: dict[str, Any]) -> DacSettings:
    (folder / "dac.yaml").write_text(f"identity: {{enabled: true, providers: {json.dumps(providers)}}}\n")
    return load_settings(DacSettings, folder / "dac.yaml").settings


def test_a_provider_needs_but_its_address_and_a_name(tmp_path: Path) -> None:
    found = load(tmp_path, {"sso": GOOD}).identity.providers["sso"]
    assert (found.scopes, found.claims.username, found.claims.groups) == (
        ["openid", "profile", "email"], ["preferred_username", "email"], [],
    )  # fmt: skip
    assert (found.client_secret, found.group_prefix, found.admin_groups, found.allow.groups) == (None, None, [], [])


HTTPS = "an https address; http is for this machine alone. Correct it."
SCOPES = "a list of scopes, with openid among them. Correct it."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"issuer": "http://sso.example.org"},
            f"issuer can't be used. Given: http://sso.example.org. Allowed: {HTTPS}",
        ),
        ({"issuer": "ftp://127.0.0.1"}, f"issuer can't be used. Given: ftp://127.0.0.1. Allowed: {HTTPS}"),
        ({"issuer": "http://127.0.0.1.example.org"}, f"Given: http://127.0.0.1.example.org. Allowed: {HTTPS}"),
        (
            {"issuer": "https://user@sso.example.org"},
            "Given: https://user@sso.example.org. Allowed: an https address. ",
        ),
        ({"issuer": "sso.example.org"}, "Given: sso.example.org. Allowed: an https address. Correct it."),
        ({"issuer": "https://sso.example.org?x=1"}, "Allowed: an address without ? and #. Correct it."),
        ({"scopes": ["profile"]}, f"scopes can't be used. Given: a list. Allowed: {SCOPES}"),
        ({"scopes": ["openid profile"]}, f"scopes can't be used. Given: a list. Allowed: {SCOPES}"),
        (
            {"groups": {"/all": "public"}},
            "groups can't be used. Given: a map. Allowed: must not lead to public, which is ",
        ),
        (
            {"groups": {"/all": "All"}},
            "groups./all can't be used. Given: All. Allowed: text of at most 64 characters like ",
        ),
        (
            {"group_prefix": "sso"},
            "group_prefix can't be used. Given: sso. Allowed: text of at most 30 characters like ",
        ),
        (
            {"client_secret": "written down"},
            "client_secret can't be used. Allowed: {secret: NAME} or null. Correct it.",
        ),
        ({"client_secert": {"secret": "x"}}, "There is no such key in identity.providers.sso. Given: client_secert. "),
        (
            {"timeout_s": 0},
            "timeout_s can't be used. Given: 0. Allowed: a number above 0 and of at most 60. Correct it.",
        ),
    ],
)
def test_a_mistake_in_a_provider_is_told_with_its_place_and_no_secret(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load(tmp_path, {"sso": {**GOOD, **change}})
    assert words in str(caught.value)
    assert str(caught.value).startswith("dac.yaml, line 1, column ")
    assert "written down" not in str(caught.value)


def test_two_providers_may_not_have_one_issuer(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="different issuers, since people are told apart by issuer"):
        load(tmp_path, {"one": GOOD, "two": GOOD})
    with pytest.raises(BadConfiguration):
        load(tmp_path, {"a/../b": GOOD})


def test_a_secret_that_is_missing_is_told_when_the_centre_starts(tmp_path: Path) -> None:
    load(tmp_path, {"sso": {**GOOD, "client_secret": {"secret": "sso-client"}}})
    with pytest.raises(BadConfiguration) as caught:
        build_centre(load_settings(DacSettings, tmp_path / "dac.yaml"))
    assert str(caught.value) == (
        "A secret that dac.yaml names is missing. Given: sso-client. "
        "Put it into the file sso-client of the secrets folder."
    )
