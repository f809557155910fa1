"""The membership service and user-info, where what a process knows of its callers may be some seconds old."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa

from identity_centre import ME, IdentityCentre, identity_centre


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre"), check_s=5) as served:
        for name in ("ada", "bob"):
            served.user(name)
        yield served


def client_of(centre: IdentityCentre, name: str) -> httpx.Client:
    client = centre.browser()
    client.headers["authorization"] = f"Bearer {centre.token(name, 'user:groups', 'read:tap').text}"
    return client


def groups_of(client: httpx.Client) -> list[str]:
    """As user-info tells them, without the group of one that each user is."""
    return [group["name"] for group in client.get("/auth/api/v1/user-info").json()["groups"]][1:]


def test_a_group_is_told_as_soon_as_it_is_made_and_no_longer_than_it_is_there(centre: IdentityCentre) -> None:
    with client_of(centre, "ada") as ada:
        assert (ada.get("/auth/gms/search").text, groups_of(ada)) == ("", [])
        made = ada.post("/auth/api/v1/groups", json={"name": "shear"}).json()
        ada.post("/auth/api/v1/groups", json={"name": "arcs"})
        assert (ada.get("/auth/gms/search").text, groups_of(ada)) == ("arcs\r\nshear\r\n", ["arcs", "shear"])
        assert ada.get("/auth/gms/search?group=shear&GROUP=rings").text == "shear\r\n"
        assert {"name": "shear", "id": made["id"]} in ada.get("/auth/api/v1/user-info").json()["groups"]
        ada.delete("/auth/api/v1/groups/shear")
        assert (ada.get("/auth/gms/search").text, groups_of(ada)) == ("arcs\r\n", ["arcs"])


def test_nothing_is_told_of_an_account_that_was_just_frozen(centre: IdentityCentre) -> None:
    with client_of(centre, "bob") as bob:
        assert bob.get("/auth/gms/search").status_code == 200
        centre.administration.freeze("bob", "a test", actor=ME)
        for path in ("/auth/gms/search", "/auth/api/v1/user-info"):
            assert bob.get(path).status_code == 403


def test_only_the_callers_own_places_are_read(centre: IdentityCentre) -> None:
    """Reading everyone's took a quarter of a second at a centre of 40 000 memberships."""
    asked: list[str] = []
    engine = centre.administration.store.database.engine

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    with client_of(centre, "ada") as ada:
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            ada.get("/auth/api/v1/user-info")
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
    reads = [statement for statement in asked if "identity_members" in statement]
    assert reads
    assert all("identity_members.account = ?" in statement for statement in reads)


def test_a_name_that_no_database_keeps_is_refused(centre: IdentityCentre) -> None:
    with client_of(centre, "ada") as ada:
        ada.post("/auth/api/v1/groups", json={"name": "lenses"})
        for body in (b'{"username": "\\ud800"}', b'{"username": "b\\u0000b"}'):
            refused = ada.post("/auth/api/v1/groups/lenses/invitations", content=body)
            assert refused.status_code == 400
            assert "username has what is no character. Allowed: text without NUL and lone surrogates." in refused.text
        assert ada.get("/auth/api/v1/groups/len%00ses").status_code == 404
