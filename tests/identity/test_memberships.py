"""Which places in groups count, where publishers name groups and where nobody can say whom they name."""

from __future__ import annotations

import pytest

from idac.core.errors import StoreUnavailable
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.directory import Directory
from idac.identity.group_names import names_in_use
from idac.identity.groups import UserGroups
from idac.identity.quotas import Quotas
from idac.identity.settings import IdentitySettings
from idac.identity.store import IdentityStore
from identity_centre import ME

SETTINGS = IdentitySettings(enabled=True)
ADA = Principal("ada", "user")


class Publishers:
    """What publishers say, and whether the archive can be asked for it."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.is_away = False

    def __call__(self) -> set[str]:
        if self.is_away:
            raise StoreUnavailable("The archive of this centre is not there.")
        return self.named


@pytest.fixture
def publishers() -> Publishers:
    return Publishers()


@pytest.fixture
def administration(store: IdentityStore, publishers: Publishers) -> Administration:
    made = Administration(store, SETTINGS, names_in_use(SETTINGS, published=publishers))
    made.add_account("ada", actor=ME)
    made.add_members("team", ["ada"], actor=ME)
    UserGroups(made).make(ADA, "shear")
    return made


def groups_of_ada(administration: Administration) -> list[str]:
    """Her groups, as data rights and quotas see them: always the same."""
    account = administration.account("ada")
    known = Directory(administration.store, administration.names).by_account(account.id).principal.groups
    quotas = Quotas(administration.store, SETTINGS.quotas, 0, administration.names)
    assert quotas.account("ada").groups == known
    return sorted(known)


def test_a_group_of_people_counts_for_nobody_from_when_a_publisher_names_it(
    administration: Administration, publishers: Publishers
) -> None:
    assert groups_of_ada(administration) == ["shear", "team"]
    publishers.named |= {"shear", "team"}
    assert groups_of_ada(administration) == ["team"]
    assert administration.unmeant_groups() == {"shear": "ada"}
    UserGroups(administration).give("shear", "ada", actor=ME)
    assert groups_of_ada(administration) == ["shear", "team"]


def test_a_group_of_people_counts_for_nobody_where_nobody_can_say_whether_it_is_named(
    administration: Administration, publishers: Publishers
) -> None:
    publishers.is_away = True
    assert groups_of_ada(administration) == ["team"]
    publishers.is_away = False
    assert groups_of_ada(administration) == ["shear", "team"]
