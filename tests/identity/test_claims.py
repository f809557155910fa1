"""What providers of each kind say about people, as their own documentation shows it, and what it becomes here."""

from __future__ import annotations

from typing import Any

import pytest

from idac.core.errors import AccessDenied
from idac.identity.claims import identity_from_claims, wants_more
from idac.identity.model import ExternalIdentity
from idac.identity.settings import ClaimPaths, ProviderSettings
from identity_clock import Clock

#: Claims as INDIGO-IAM (WLCG profile), Keycloak, CILogon and the Rubin Science Platform send them.
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str | None, str | None, set[str]]]] = {
    "INDIGO-IAM": (
        {
            "claims": {"groups": ["wlcg.groups"]},
            "groups": {"/lsst/dp1": "dp1-team"},
            "group_prefix": "iam-",
        },
        {
            "sub": "e1eb758b-b73c-4761-bfff-adc793da409c", "preferred_username": "a.love", "name": "Ada Love",
            "email": "ada@example.org", "email_verified": True, "wlcg.ver": "1.0",
            "wlcg.groups": ["/lsst", "/lsst/dp1", "/lsst/ops"],
        },
        ("a.love", "Ada Love", "ada@example.org", {"dp1-team", "iam-lsst"}),
    ),
    "INDIGO-IAM without the WLCG profile": (
        {"claims": {"groups": ["groups"]}, "groups": {"lsst/dp1": "dp1-team"}},
        {"sub": "x", "preferred_username": "a.love", "groups": ["lsst", "lsst/dp1"]},
        ("a.love", None, None, {"dp1-team"}),
    ),
    "Keycloak": (
        {
            "claims": {"groups": ["realm_access.roles", "resource_access.my.dac.roles", "groups"]},
            "groups": {"data-access": "dp1-team", "publisher": "publishers"},
            "group_prefix": "kc-",
        },
        {
            "sub": "f:1:2", "preferred_username": "ada", "name": "Ada Love", "email": "ada@example.org",
            "realm_access": {"roles": ["offline_access", "data-access"]},
            "resource_access": {"account": {"roles": ["manage-account"]}, "my.dac": {"roles": ["publisher"]}},
            "groups": ["/astronomers"],
        },
        ("ada", "Ada Love", "ada@example.org", {"dp1-team", "publishers", "kc-offline_access", "kc-astronomers"}),
    ),
    "CILogon": (
        {
            "claims": {"username": ["uid", "eppn", "email"], "groups": ["isMemberOf"]},
            "groups": {"CO:COU:LSST Data Rights:members:active": "dp1-team"},
        },
        {
            "sub": "http://cilogon.org/serverA/users/1815", "eppn": "alove@example.edu", "name": "Ada Love",
            "given_name": "Ada", "family_name": "Love", "email": "ada@example.edu", "idp_name": "Example University",
            "isMemberOf": ["CO:members:all", "CO:COU:LSST Data Rights:members:active"],
        },
        ("alove@example.edu", "Ada Love", "ada@example.edu", {"dp1-team"}),
    ),
    "Rubin": (
        {"claims": {"groups": ["data_rights"]}, "groups": {"dp0.2": "dp0-2", "dp1": "dp1"}},
        {"sub": "ada", "preferred_username": "ada", "name": "Ada", "email": "a@example.org",
         "data_rights": "dp0.2 dp0.3 dp1"},
        ("ada", "Ada", "a@example.org", {"dp0-2", "dp1"}),
    ),
    "groups as objects": (
        {"claims": {"groups": ["groups"]}, "group_prefix": "g-"},
        {"sub": "ada", "email": "a@example.org", "groups": [{"name": "g_users", "id": 7}, {"id": 8}, 9, None]},
        ("a@example.org", None, "a@example.org", {"g-g_users"}),
    ),
}  # fmt: skip


def provider(**settings: Any) -> ProviderSettings:
    return ProviderSettings.model_validate({"issuer": "https://sso.example.org", "client_id": "idac", **settings})


def identity(settings: dict[str, Any], claims: dict[str, Any]) -> ExternalIdentity:
    chosen = provider(**settings)
    return identity_from_claims(chosen, chosen.issuer, chosen.claims, {**claims, "sub": "1815"}, Clock()())


@pytest.mark.parametrize("shape", SHAPES)
def test_names_and_groups_are_found_where_each_kind_of_provider_puts_them(shape: str) -> None:
    settings, claims, expected = SHAPES[shape]
    found = identity(settings, claims)
    assert (found.username, found.full_name, found.email, set(found.groups)) == expected
    assert (found.issuer, found.subject) == ("https://sso.example.org", "1815")
    assert found.groups_until == Clock().later(days=30)


def test_groups_that_mean_nothing_here_are_left_out_and_never_made_to_fit() -> None:
    settings = {"claims": {"groups": ["groups"]}, "group_prefix": "sso-"}
    values = ["a b", "A", "a/b", "/a", "//a", "/", "", "a.b", "é", "a\n", "x" * 61, "x" * 60, "a-", "../a", "a;--"]
    assert identity(settings, {"groups": values}).groups == {"sso-a", "sso-" + "x" * 60}
    assert identity({"claims": {"groups": ["groups"]}}, {"groups": values}).groups == frozenset()
    local = {"claims": {"groups": ["groups"]}, "group_prefix": "local-"}
    assert identity(local, {"groups": ["admin", "user"]}).groups == {"local-user"}


@pytest.mark.parametrize("value", [None, 7, True, {"a": ["in"]}, [["in"]], [7], "", []])
def test_a_claim_of_another_shape_gives_no_group(value: object) -> None:
    settings = {"claims": {"groups": ["groups"]}, "groups": {"in": "inside"}, "admin_groups": ["in"]}
    found = identity(settings, {"groups": value})
    assert (found.groups, found.is_admin) == (frozenset(), False)


def test_texts_are_shortened_and_cleaned() -> None:
    found = identity({}, {"preferred_username": "a\x00d\u202ea\n", "name": "x" * 500, "email": "no address"})
    assert (found.username, found.full_name, found.email) == ("ada", "x" * 200, None)
    for email in ("a@" + "x" * 300, "a b@example.org", 7, None):
        assert identity({}, {"email": email}).email is None
    for verified, kept in ((True, True), ("true", True), (False, False), ("false", False)):
        assert (identity({}, {"email": "a@example.org", "email_verified": verified}).email is not None) is kept
    nothing = identity({}, {"preferred_username": ["ada"], "name": 7})
    assert (nothing.username, nothing.full_name) == ("", None)


def test_administrators_and_guests_are_told_by_their_groups() -> None:
    settings = {
        "claims": {"groups": ["groups"]}, "admin_groups": ["/dac/admins"], "allow": {"groups": ["/dac", "/guests"]},
    }  # fmt: skip
    assert identity(settings, {"groups": ["/dac", "/dac/admins"]}).admin_groups == {"/dac/admins"}
    assert not identity(settings, {"groups": ["/guests", "dac/admins"]}).is_admin
    with pytest.raises(AccessDenied) as caught:
        identity(settings, {"groups": ["/dac/admins"]})
    assert str(caught.value) == (
        "Your account at the identity provider is in no group that may log in here. "
        "Given: 1 groups of https://sso.example.org. Ask the operator of this centre which group that is."
    )


def test_user_information_is_wanted_where_something_is_missing() -> None:
    full = {"preferred_username": "ada", "name": "Ada", "email": "a@example.org", "a": {"b": []}}
    chosen = provider(claims={"groups": ["a.b"]})
    assert not wants_more(chosen.claims, full)
    for missing in full:
        lacking = {name: value for name, value in full.items() if name != missing}
        # A name can be had from an e-mail address.
        assert wants_more(chosen.claims, lacking) is (missing != "preferred_username")
    assert not wants_more(ClaimPaths(username=["sub"], full_name=[], email=[]), {"sub": "x"})
