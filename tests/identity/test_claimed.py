"""What identity providers gave: it counts while dac.yaml lets them give it, and an administrator takes it back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from idac.core.errors import Conflict, NotAuthenticated, NotFound
from idac.core.principal import Principal
from idac.identity import group_store
from idac.identity.administration import Administration
from idac.identity.claimed import TakenBack, forget_claims
from idac.identity.credentials import parse_token
from idac.identity.directory import Directory
from idac.identity.external import ExternalAccounts
from idac.identity.groups import UserGroups
from idac.identity.impersonation import Impersonation
from idac.identity.invitations import Invitations
from idac.identity.issuers import NO_ISSUERS, Issuers
from idac.identity.model import Account, ExternalIdentity
from idac.identity.quotas import Quotas
from idac.identity.schema import CLAIMED_ADMINS
from idac.identity.settings import DataRight, IdentitySettings, ProviderSettings
from idac.identity.store import Records, ms
from idac.identity.throttle import Throttle
from identity_centre import ME
from identity_clock import Clock
from identity_moments import during

ISSUER = "https://sso.example.org"
PROVIDER = ProviderSettings(
    issuer=ISSUER, client_id="idac", groups={"x": "team"}, rights={"dp1": "dp1"}, admin_groups=["dac-admins"]
)
SETTINGS = IdentitySettings(rights={"dp1": DataRight()}, providers={"sso": PROVIDER})
HERE = Issuers(SETTINGS)
ADA = ExternalIdentity(
    ISSUER,
    "1815",
    "ada",
    groups=frozenset({"team"}),
    rights=frozenset({"dp1"}),
    admin_groups=frozenset({"dac-admins"}),
)


def with_admins(*groups: str) -> Issuers:
    provider = PROVIDER.model_copy(update={"admin_groups": list(groups)})
    return Issuers(IdentitySettings(rights=SETTINGS.rights, providers={"sso": provider}))


@pytest.fixture
def ada(administration: Administration, clock: Clock) -> Account:
    """Who has come by the provider, which gave all that one can give."""
    return ExternalAccounts(administration.store).account_for(replace(ADA, groups_until=clock.later(days=30)))


def is_admin(administration: Administration, account: Account, issuers: Issuers) -> bool:
    return Directory(administration.store, issuers=issuers).by_account(account.id).principal.is_admin


@pytest.mark.parametrize(
    ("providers", "groups"),
    [
        ({"sso": PROVIDER}, {"team"}),
        ({"sso": PROVIDER.model_copy(update={"groups": {}, "group_prefix": "te-"})}, set()),
        ({"sso": PROVIDER.model_copy(update={"groups": {"y": "team"}})}, {"team"}),
        ({"sso": PROVIDER.model_copy(update={"groups": {}})}, set()),
        ({"other": PROVIDER.model_copy(update={"issuer": "https://other.example.org"})}, set()),
        ({}, set()),
    ],
)
def test_a_place_by_claim_counts_only_while_dac_yaml_lets_the_issuer_give_it(
    administration: Administration, ada: Account, providers: dict[str, ProviderSettings], groups: set[str]
) -> None:
    administration.grant("team", "dp1", actor=ME)
    settings = IdentitySettings(rights=SETTINGS.rights, providers=providers)
    store, issuers = administration.store, Issuers(settings)
    known = Directory(store, issuers=issuers).by_account(ada.id).principal
    assert known.groups == Quotas(store, settings.quotas, 0, issuers=issuers).account("ada").groups == groups
    assert ("dp1" in known.rights) == bool(providers.get("sso"))  # the provider gives it by itself too
    administration.add_members("team", ["ada"], actor=ME)
    assert Directory(store, issuers=issuers).by_account(ada.id).principal.groups == {"team"}


def test_a_place_by_the_beginning_of_a_name_counts_too() -> None:
    prefixed = PROVIDER.model_copy(update={"group_prefix": "sso-"})
    issuers = Issuers(IdentitySettings(rights=SETTINGS.rights, providers={"sso": prefixed}))
    assert [issuers.may_give_group(ISSUER, name) for name in ("sso-x", "ssox", "team")] == [True, False, True]


def test_an_administrator_by_claim_is_one_only_while_dac_yaml_lets_the_issuer_say_so(
    administration: Administration, ada: Account
) -> None:
    boss = administration.add_account("boss", actor=ME, is_admin=True)
    for issuers, by_claim in (
        (HERE, True),
        (with_admins("operators", "dac-admins"), True),
        (with_admins("operators"), False),
        (with_admins(), False),
        (NO_ISSUERS, False),
    ):
        assert is_admin(administration, boss, issuers)
        assert is_admin(administration, ada, issuers) is by_claim
        administration.issuers = issuers
        listed = {account.name: account.is_admin for account in administration.accounts()}
        assert listed == {"ada": by_claim, "boss": True}


def test_an_administrator_by_claim_is_one_as_long_as_groups_by_claim_hold(
    administration: Administration, ada: Account, clock: Clock
) -> None:
    directory = Directory(administration.store, issuers=HERE)
    clock.advance(days=29)
    known = directory.by_account(ada.id)
    assert (known.principal.is_admin, known.until_ms) == (True, ms(clock.later(days=1)))
    ExternalAccounts(administration.store).account_for(replace(ADA, groups_until=clock.later(days=30)))
    clock.advance(days=29)
    assert directory.by_account(ada.id).principal.is_admin
    clock.advance(days=1)
    assert not directory.by_account(ada.id).principal.is_admin
    # Whom the operator makes one is so without an end.
    administration.appoint("ada", actor=ME)
    clock.advance(days=3650)
    assert directory.by_account(ada.id).principal.is_admin


def test_an_administrator_by_a_claim_of_which_no_end_is_known_is_none(
    administration: Administration, ada: Account
) -> None:
    with administration.store.write() as records:
        records.connection.execute(sa.update(CLAIMED_ADMINS).values(groups=None, expires=None))
    assert not is_admin(administration, ada, HERE)
    until = administration.store.now().replace(year=2100)
    ExternalAccounts(administration.store).account_for(replace(ADA, groups_until=until))
    assert is_admin(administration, ada, HERE)


def test_a_token_that_such_an_administrator_was_lent_ends_too(administration: Administration, ada: Account) -> None:
    administration.add_account("eve", actor=ME)
    administration.issuers = HERE
    _, secret = Impersonation(administration).lend("eve", "a test", actor="ada", administrator="ada")
    presented = parse_token(secret.text)
    assert presented is not None
    assert Directory(administration.store, issuers=HERE).by_token(presented).acting == "ada"
    with pytest.raises(NotAuthenticated, match="This token was lent to somebody who is no administrator any more"):
        Directory(administration.store).by_token(presented)


def test_all_that_was_given_is_taken_back_and_no_more(administration: Administration, ada: Account) -> None:
    administration.add_members("own", ["ada"], actor=ME)
    administration.grant("own", "dp1", actor=ME)
    secret = administration.add_token("ada", "laptop", actor=ME)[1]
    store = administration.store
    with store.write() as records:
        records.add_session("k" * 22, "d", ada.id, records.now.replace(year=2100), None)
    assert forget_claims(store, "ada", actor=ME) == TakenBack(("team",), ("dp1",), was_admin=True)
    with store.read() as records:
        assert records.claimed_administrator(ada.id) == set()
    known = Directory(store, issuers=HERE).by_account(ada.id).principal
    # What people gave stays, and so do tokens, which have nothing any more but that.
    assert (known.groups, known.rights, known.is_admin) == ({"own"}, {"dp1"}, False)
    presented = parse_token(secret.text)
    assert presented is not None
    assert Directory(store).by_token(presented).principal.groups == {"own"}
    (entry,) = store.iter_audit(actions=["user forget-claims"])
    assert (entry.actor, entry.subject) == (ME, "ada")
    assert entry.detail == {"groups": ["team"], "rights": ["dp1"], "admin": True, "sessions": 1}
    assert forget_claims(store, "ada", actor=ME) == TakenBack((), (), was_admin=False)


def test_an_administrator_whom_an_operator_made_stays_one(administration: Administration) -> None:
    boss = administration.add_account("boss", actor=ME, is_admin=True)
    forget_claims(administration.store, "boss", actor=ME)
    assert is_admin(administration, boss, NO_ISSUERS)
    with pytest.raises(NotFound, match=r"There is no account of this name\. Given: boos\. Did you mean boss\?"):
        forget_claims(administration.store, "boos", actor=ME)


# -- places in groups that people look after -------------------------------------------------------------------------

OWEN, MIA, ZOE = (Principal(name, "user") for name in ("owen", "mia", "zoe"))


@pytest.fixture
def groups(administration: Administration) -> UserGroups:
    """With a team that owen owns, and that the provider puts people into."""
    for name in ("owen", "zoe"):
        administration.add_account(name, actor=ME)
    made = UserGroups(administration)
    administration.add_members("team", ["owen"], actor=ME)
    made.give("team", "owen", actor=ME)
    return made


def mia_comes(administration: Administration, clock: Clock, *names: str, issuer: str = ISSUER) -> None:
    said = ExternalIdentity(issuer, "1842", "mia", groups=frozenset(names), groups_until=clock.later(days=30))
    accounts = ExternalAccounts(administration.store)
    if issuer == ISSUER:
        accounts.account_for(said)
    else:
        accounts.link("mia", said, actor="mia")


def let_manage(administration: Administration, groups: UserGroups) -> str:
    """Let mia look after the team; returns the secret of a link that she gives."""
    groups.set_manager(OWEN, "team", "mia", manages=True)
    return invitations_of(administration, groups).make_link(MIA, "team", uses=5)[1].text


def invitations_of(administration: Administration, groups: UserGroups) -> Invitations:
    return Invitations(groups, Throttle(administration.store, administration.settings))


@pytest.mark.parametrize("how", ["the provider says so", "an administrator forgets it", "unlinked", "its time is over"])
def test_whose_claimed_place_ended_comes_back_as_a_member_and_old_invitations_stay_void(
    administration: Administration, groups: UserGroups, clock: Clock, how: str
) -> None:
    mia_comes(administration, clock, "team")
    link = let_manage(administration, groups)
    if how == "the provider says so":
        mia_comes(administration, clock)
    elif how == "an administrator forgets it":
        forget_claims(administration.store, "mia", actor=ME)
    elif how == "unlinked":
        mia_comes(administration, clock, issuer="https://other.example.org")
        ExternalAccounts(administration.store).unlink("mia", ISSUER, "1842", passwords=False, actor="mia")
        with administration.store.write() as records:
            account = records.account("mia")
            assert account is not None
            records.link_identity(account.id, ISSUER, "1842")
    else:
        clock.now = clock.later(days=31)
    if how != "its time is over":
        assert groups.view(OWEN, "team").invitations == ()
    mia_comes(administration, clock, "team")
    seen = groups.view(OWEN, "team")
    assert ([member.account for member in seen.members], seen.managers) == (["mia", "owen"], frozenset())
    with pytest.raises(NotFound, match="This invitation is not good, or not any more"):
        invitations_of(administration, groups).join(ZOE, link, address="192.0.2.7")


def test_who_keeps_another_place_looks_after_the_group_still(
    administration: Administration, groups: UserGroups, clock: Clock
) -> None:
    mia_comes(administration, clock, "team")
    administration.add_members("team", ["mia"], actor=ME)
    link = let_manage(administration, groups)
    mia_comes(administration, clock)
    forget_claims(administration.store, "mia", actor=ME)
    assert groups.view(OWEN, "team").managers == {"mia"}
    invitations_of(administration, groups).join(ZOE, link, address="192.0.2.7")
    assert groups.view(ZOE, "team").role == "member"


def test_the_end_of_a_place_by_claim_alone_is_the_providers_to_say(
    administration: Administration, groups: UserGroups, clock: Clock
) -> None:
    mia_comes(administration, clock, "team")
    before = groups.view(OWEN, "team").members
    for act in (
        lambda: groups.set_end(OWEN, "team", "mia", clock.later(days=1)),
        lambda: groups.set_end(OWEN, "team", "mia", None),
        lambda: administration.add_members("team", ["zoe", "mia"], actor=ME, expires=clock.later(days=1)),
    ):
        with pytest.raises(Conflict) as caught:
            act()
        assert caught.value.text == (
            "An identity provider says how long this place lasts. Given: mia in team. "
            "Allowed: ends of places that people or administrators gave. "
            "Change it at the provider, or take the member out until their next log-in by it."
        )
    assert groups.view(OWEN, "team").members == before
    administration.add_members("team", ["mia"], actor=ME)  # from now on she has a place whatever the provider says
    groups.set_end(OWEN, "team", "mia", clock.later(days=1))
    mia_comes(administration, clock)
    clock.now = clock.later(days=2)
    assert [member.account for member in groups.view(OWEN, "team").members] == ["owen"]


def test_what_a_log_in_of_this_moment_gives_is_taken_back_too(
    administration: Administration, groups: UserGroups, clock: Clock
) -> None:
    mia_comes(administration, clock)
    mia = administration.account("mia")

    def log_in(records: Records) -> None:
        group_id = records.lock_group("team", shared=True)
        assert group_id is not None
        records.lock_account(mia.id)
        group_store.add_member(records, group_id, mia.id, source=ISSUER, expires=clock.later(days=30))

    later = during(administration.store, log_in, lambda: forget_claims(administration.store, "mia", actor=ME))
    assert later.result() == TakenBack(("team",), (), was_admin=False)
    assert [member.account for member in groups.view(OWEN, "team").members] == ["owen"]
