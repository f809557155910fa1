"""Data rights straight from claims, as Rubin's data_rights has them: as long as the provider says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from command_fixture import command_runner
from forged_log_in import begun, finished
from idac.identity.administration import Administration
from idac.identity.claimed_rights import claimed_rights
from idac.identity.claims import identity_from_claims, wants_more
from idac.identity.directory import Directory
from idac.identity.external import ExternalAccounts
from idac.identity.issuers import Issuers
from idac.identity.model import Account
from idac.identity.settings import ClaimPaths, DataRight, GitHubSettings, IdentitySettings, ProviderSettings
from identity_centre import RESTRICTED, IdentityCentre, identity_centre
from identity_clock import Clock
from services.http_server import serving
from services.oidc_forger import Forger, signed

ISSUER = "https://data.example.org"
PATHS = ClaimPaths(rights=["data_rights", "entitled.to"])
PROVIDER = ProviderSettings(
    issuer=ISSUER, client_id="idac", claims=PATHS, rights={"dp1": "dp1", "dp0.2": "dp02", "/lsst/dp1": "dp1"}
)
SECOND = PROVIDER.model_copy(update={"issuer": "https://b.example"})
RIGHTS = {"dp1": DataRight(), "dp02": DataRight()}
SETTINGS = IdentitySettings(rights=RIGHTS, providers={"rubin": PROVIDER, "second": SECOND})


def directory(administration: Administration, settings: IdentitySettings = SETTINGS) -> Directory:
    return Directory(administration.store, issuers=Issuers(settings))


def come(administration: Administration, subject: str = "1815", issuer: str = ISSUER, **claims: Any) -> Account:
    """The account after a log-in with these claims."""
    said = {"sub": subject, "preferred_username": "ada", **claims}
    identity = identity_from_claims(PROVIDER, issuer, PATHS, said, administration.store.now())
    return ExternalAccounts(administration.store).account_for(identity)


def rights(administration: Administration, account: Account) -> list[str]:
    return sorted(directory(administration).by_account(account.id).principal.rights)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"data_rights": "dp0.2 dp1"}, ["dp02", "dp1"]),
        ({"data_rights": ["dp1", "dp1"]}, ["dp1"]),
        ({"entitled": {"to": ["dp0.2"]}}, ["dp02"]),
        ({"data_rights": "DP1 dp1x dp01"}, []),
        ({"data_rights": {"dp1": True}}, []),
        ({"data_rights": [["dp1"], 1, None]}, []),
        ({"groups": "dp1"}, []),  # a claim that the operator did not name
        ({}, []),
    ],
)
def test_values_of_the_named_claims_are_rights(
    administration: Administration, claims: dict[str, Any], expected: list[str]
) -> None:
    account = come(administration, **claims)
    assert rights(administration, account) == expected
    assert directory(administration).by_account(account.id).principal.groups == frozenset()


def test_values_of_group_claims_count_too() -> None:
    paths = ClaimPaths(groups=["wlcg.groups"])
    claims = {"sub": "1", "wlcg.groups": ["/lsst/dp1", "/other"]}
    found = identity_from_claims(PROVIDER, ISSUER, paths, claims, Clock()())
    assert (found.rights, found.groups) == ({"dp1"}, frozenset())


def test_user_information_is_asked_for_rights_that_the_token_lacks() -> None:
    claims = {"sub": "1", "preferred_username": "a", "name": "A", "email": "a@example.org", "data_rights": "dp1"}
    assert not wants_more(ClaimPaths(rights=["data_rights"]), claims)
    assert wants_more(PATHS, claims)


def test_they_go_at_the_next_log_in_without_them_and_are_written_down(administration: Administration) -> None:
    account = come(administration, data_rights="dp1 dp0.2")
    come(administration, data_rights="dp1 dp0.2")
    assert rights(administration, come(administration, data_rights="dp0.2")) == ["dp02"]
    assert rights(administration, come(administration)) == []
    noted = [e.detail for e in administration.store.iter_audit(actions=["user rights"], subject=account.name)]
    assert [(each["before"], each["rights"]) for each in noted] == [
        ([], ["dp02", "dp1"]), (["dp02", "dp1"], ["dp02"]), (["dp02"], []),
    ]  # fmt: skip


def test_they_end_by_themselves_and_a_new_log_in_renews_them(administration: Administration, clock: Clock) -> None:
    account = come(administration, data_rights="dp1")
    known = directory(administration).by_account(account.id)
    assert known.until_ms == round(clock.later(days=30).timestamp() * 1000)
    clock.advance(days=29)
    come(administration, data_rights="dp1")
    clock.advance(days=29)
    assert rights(administration, account) == ["dp1"]
    clock.advance(days=1)
    assert rights(administration, account) == []
    with administration.store.read() as records:
        assert claimed_rights(records, Issuers(SETTINGS)) == {}


def test_one_issuer_takes_nothing_that_another_gave(administration: Administration) -> None:
    account = come(administration, data_rights="dp1")
    accounts = ExternalAccounts(administration.store)
    second = identity_from_claims(
        PROVIDER, "https://b.example", PATHS, {"sub": "9", "data_rights": "dp1 dp0.2"}, administration.store.now()
    )
    accounts.link(account.name, second, actor=account.name)
    assert rights(administration, come(administration)) == ["dp02", "dp1"]
    come(administration, data_rights="dp1")
    accounts.unlink(account.name, "https://b.example", "9", passwords=False, actor=account.name)
    assert rights(administration, account) == ["dp1"]


@pytest.mark.parametrize(
    ("providers", "left"),
    [
        ({"rubin": PROVIDER}, ["dp02", "dp1"]),
        ({"renamed": PROVIDER}, ["dp02", "dp1"]),
        ({"rubin": PROVIDER.model_copy(update={"rights": {"dp0.2": "dp02"}})}, ["dp02"]),
        ({"rubin": PROVIDER.model_copy(update={"issuer": "https://other.example.org"})}, []),
        ({"second": SECOND}, []),
        ({}, []),
    ],
)
def test_a_right_counts_only_while_dac_yaml_lets_its_issuer_give_it(
    administration: Administration, providers: dict[str, ProviderSettings], left: list[str]
) -> None:
    account = come(administration, data_rights="dp1 dp0.2")
    assert rights(administration, account) == ["dp02", "dp1"]
    settings = IdentitySettings(rights=RIGHTS, providers=providers)
    known = directory(administration, settings).by_account(account.id)
    assert sorted(known.principal.rights) == left
    assert (known.until_ms is None) == (left == [])
    with administration.store.read() as records:
        shown = claimed_rights(records, Issuers(settings)).get(account.name, [])
    assert [each.right for each in shown] == left


def test_github_gives_rights_by_its_address(administration: Administration) -> None:
    account = come(administration, issuer="https://github.com", data_rights="dp1")
    given = {"client_id": "idac", "client_secret": {"secret": "github"}, "rights": {"my-survey": "dp1"}}
    github = GitHubSettings.model_validate(given)
    settings = IdentitySettings(rights=RIGHTS, github={"gh": github})
    assert directory(administration, settings).by_account(account.id).principal.rights == {"dp1"}
    assert rights(administration, account) == []


def test_only_rights_that_there_are_can_be_given() -> None:
    with pytest.raises(ValidationError, match=r"must not have sso give dp3: identity\.rights defines dp1"):
        IdentitySettings(
            rights={"dp1": DataRight()},
            providers={"sso": ProviderSettings(issuer=ISSUER, client_id="idac", rights={"x": "dp3", "y": "dp1"})},
        )


# -- the whole way -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forger() -> Iterator[Forger]:
    made = Forger()
    with serving(made.app()) as url:
        made.good(url)
        yield made


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory, forger: Forger) -> Iterator[IdentityCentre]:
    sso = {"issuer": forger.url, "client_id": "idac", "claims": {"rights": ["data_rights"]}, "rights": {"dp1": "dp1"}}
    identity = f"providers: {json.dumps({'sso': sso})}"
    with identity_centre(tmp_path_factory.mktemp("centre"), identity=identity) as served:
        yield served


def test_a_claim_opens_a_table_and_its_end_closes_it(
    centre: IdentityCentre, forger: Forger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    centre.user("boss", admin=True)
    monkeypatch.chdir(centre.folder)
    idac = command_runner(monkeypatch, capsys)

    def log_in(data_rights: str) -> str:
        with centre.browser() as browser:
            state, nonce = begun(browser)
            forger.id_token = signed(forger.claims(nonce, data_rights=data_rights), forger.key)
            assert finished(browser, state).status_code == 303
            assert browser.get("/auth/api/v1/user-info").json()["data_rights"] == data_rights.split()
            return browser.get("/auth/tokens").text

    assert "Data rights: dp1." in log_in("dp1")
    token = centre.token("ada")
    assert centre.query(RESTRICTED, token).status_code == 200
    (ada,) = [each for each in idac("user", "list", "--json").json if each["username"] == "ada"]
    assert [(each["right"], each["issuer"]) for each in ada["rights_by_claim"]] == [("dp1", forger.url)]
    assert "dp1 (until 20" in idac("user", "list").out
    headers = {"authorization": f"Bearer {centre.token('boss', 'admin').text}"}
    with centre.browser() as client:
        told = client.get("/auth/api/v1/users", headers=headers).json()
    assert next(each for each in told if each["username"] == "ada")["rights_by_claim"] == ada["rights_by_claim"]
    assert "Data rights: none." in log_in("")
    assert centre.query(RESTRICTED, token).status_code == 403
    log_in("dp1")
    assert centre.query(RESTRICTED, token).status_code == 200
    assert idac("user", "forget-claims", "ada").out == "Took back from ada: the data rights dp1. It is logged out.\n"
    assert centre.query(RESTRICTED, token).status_code == 403
    log_in("dp1")
    assert centre.query(RESTRICTED, token).status_code == 200
