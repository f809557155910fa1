"""Groups that people make over HTTP: the API, the pages, and the membership service that other centres ask."""

from __future__ import annotations

import time
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import httpx
import pytest

from idac.identity.credentials import Secret
from identity_centre import ME, RESTRICTED, IdentityCentre, form_token_of, identity_centre
from services import http

API = "/auth/api/v1"
SETTINGS = "group_service: ivo://dac.example.org/gms"


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre"), identity=SETTINGS) as served:
        for name in ("ada", "bob", "cyd"):
            served.user(name)
        served.user("boss", admin=True)
        yield served


def client_of(centre: IdentityCentre, name: str, *scopes: str) -> httpx.Client:
    """A program with a token for groups, or for *scopes*."""
    client = centre.browser()
    client.headers["authorization"] = f"Bearer {centre.token(name, *(scopes or ('user:groups', 'read:tap'))).text}"
    return client


def members_of(client: httpx.Client, group: str) -> list[str]:
    return [member["username"] for member in client.get(f"{API}/groups/{group}").json()["members"]]


def test_a_group_by_the_api_from_its_beginning_to_its_end(centre: IdentityCentre) -> None:
    with client_of(centre, "ada") as ada, client_of(centre, "bob") as bob, client_of(centre, "cyd") as cyd:
        made = ada.post(f"{API}/groups", json={"name": "shear", "description": "Weak lensing"})
        assert (made.status_code, made.headers["location"]) == (201, f"{centre.url}{API}/groups/shear")
        group = made.json()
        assert {key: group[key] for key in group if key != "id"} == {
            "name": "shear",
            "description": "Weak lensing",
            "owner": "ada",
            "role": "owner",
            "ivoid": "ivo://dac.example.org/gms?shear",
        }
        assert ada.get(f"{API}/groups").json() == [group]
        asked = ada.post(f"{API}/groups/shear/invitations", json={"username": "bob"}).json()
        assert (asked["username"], asked["uses"], "secret" in asked) == ("bob", 1, False)
        (seen,) = bob.get(f"{API}/invitations").json()
        assert (seen["group"], seen["inviter"], seen["member_expires"]) == ("shear", "ada", None)
        assert bob.post(f"{API}/invitations/{seen['invitation']}").status_code == 204
        until = int(time.time()) + 86400
        for wrong, said in (
            ({"username": None}, "username is missing."),
            ({"uses": 1, "member_expire": until}, "Did you mean member_expires?"),
            ({"user": "bob"}, "There is no such key. Given: user."),
            ({}, "Whom is the invitation for? Allowed: username for an account, or uses for a link,"),
            ({"username": "bob", "uses": 3}, "An invitation of an account is used once. Given: uses."),
        ):
            refused = ada.post(f"{API}/groups/shear/invitations", json=wrong)
            assert refused.status_code == 400
            assert said in refused.text
        link = ada.post(f"{API}/groups/shear/invitations", json={"uses": 5, "member_expires": until}).json()
        assert link["url"] == f"{centre.url}/auth/join?invitation={link['secret']}"
        assert "secret" not in ada.get(f"{API}/groups/shear").json()["invitations"][0]
        assert cyd.post(f"{API}/invitations", json={"secret": link["secret"]}).status_code == 204
        assert members_of(cyd, "shear") == ["ada", "bob", "cyd"]
        assert cyd.get(f"{API}/groups/shear").json()["members"][2] == {
            "username": "cyd",
            "manager": False,
            "expires": until,
        }
        assert ada.put(f"{API}/groups/shear/members/cyd", json={"expires": None}).status_code == 204
        assert ada.put(f"{API}/groups/shear/members/cyd", json={}).status_code == 400
        passed_over = ada.put(f"{API}/groups/shear/managers/bob", json={"expires": until})
        assert passed_over.status_code == 400
        assert "There is no such key. Given: expires. Allowed: an empty body. Leave it out." in passed_over.text
        assert ada.put(f"{API}/groups/shear/managers/bob", json={}).status_code == 204
        assert bob.delete(f"{API}/groups/shear/members/cyd").status_code == 204
        assert bob.delete(f"{API}/groups/shear/invitations/{link['invitation']}").status_code == 204
        assert cyd.post(f"{API}/invitations", json={"secret": link["secret"]}).status_code == 404
        assert ada.delete(f"{API}/groups/shear/managers/bob").status_code == 204
        assert bob.delete(f"{API}/groups/shear").status_code == 403
        assert ada.post(f"{API}/groups/shear/owner", json={"username": "bob"}).status_code == 204
        assert ada.delete(f"{API}/groups/shear/members/ada").status_code == 204
        assert members_of(bob, "shear") == ["bob"]
        assert bob.delete(f"{API}/groups/shear").status_code == 204
        assert bob.get(f"{API}/groups/shear").status_code == 404
        again = ada.post(f"{API}/groups", json={"name": "shear"})
        assert (again.status_code, "This name is taken." in again.text) == (409, True)


def test_whoever_is_taken_out_reads_no_more_what_the_group_may(centre: IdentityCentre) -> None:
    with client_of(centre, "ada") as ada, client_of(centre, "bob") as bob:
        ada.post(f"{API}/groups", json={"name": "readers"})
        link = ada.post(f"{API}/groups/readers/invitations", json={"uses": 1}).json()
        bob.post(f"{API}/invitations", json={"secret": link["secret"]})
        token = centre.token("bob")
        assert centre.query(RESTRICTED, token).status_code == 403
        centre.administration.grant("readers", "dp1", actor=ME)
        assert centre.query(RESTRICTED, token).status_code == 200
        ada.delete(f"{API}/groups/readers/members/bob")
        assert centre.query(RESTRICTED, token).status_code == 403
        ada.delete(f"{API}/groups/readers")


def test_what_a_person_does_on_the_pages(centre: IdentityCentre) -> None:
    with centre.browser() as ada, centre.browser() as bob:
        centre.log_in("ada", ada)
        centre.log_in("bob", bob)
        form, other = form_token_of(ada.get("/auth/groups")), form_token_of(bob.get("/auth/groups"))
        made = ada.post("/auth/groups", data={"csrf": form, "name": "lenses", "description": "<b>arcs & rings</b>"})
        assert (made.status_code, made.headers["location"]) == (303, "/auth/groups/lenses")
        page = ada.get("/auth/groups/lenses")
        assert "&lt;b&gt;arcs &amp; rings&lt;/b&gt;" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        ET.fromstring(page.content)  # noqa: S314  our own page, which is well-formed

        def act(what: str, who: str = "", **more: str) -> httpx.Response:
            return ada.post("/auth/groups/lenses", data={"csrf": form, "act": what, "who": who, **more})

        assert act("invite", "bob", days="7").status_code == 303
        key = bob.get("/auth/groups").text.partition('name="key" value="')[2].partition('"')[0]
        assert bob.post("/auth/invitations", data={"csrf": other, "key": key, "answer": "decline"}).status_code == 303
        shown = act("link", uses="2", days="1", place_days="30").text
        link = shown.partition("<code>")[2].partition("</code>")[0]
        assert link.partition("=")[2] not in ada.get("/auth/groups/lenses").text
        asked = bob.get(link)
        assert "<strong>ada</strong> invites you to the group <strong>lenses</strong>" in asked.text
        assert "bob" not in ada.get("/auth/groups/lenses").text  # to look is not to join
        secret = link.partition("=")[2]
        joined = bob.post("/auth/join", data={"csrf": form_token_of(asked), "invitation": secret})
        assert joined.headers["location"] == "/auth/groups/lenses"
        assert ">Leave</button>" in bob.get("/auth/groups/lenses").text
        assert act("promote", "bob").status_code == 303
        assert ">Invite this account</button>" in bob.get("/auth/groups/lenses").text
        assert act("demote", "bob").status_code == 303
        assert act("remove", "bob").headers["location"] == "/auth/groups/lenses"
        assert bob.get("/auth/groups/lenses").status_code == 404
        assert act("delete", "lense").status_code == 400
        assert act("x", "bob").status_code == 400
        assert act("delete", "lenses").headers["location"] == "/auth/groups"
        assert bob.get(link).status_code == 404


def test_a_nameless_visitor_with_a_link_is_sent_to_log_in_and_comes_back(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        answer = browser.get("/auth/join?invitation=abc", headers={"accept": "text/html,application/xhtml+xml"})
        assert answer.headers["location"] == "/auth/login?next=%2Fauth%2Fjoin%3Finvitation%3Dabc"


# The membership service


def search(centre: IdentityCentre, secret: Secret | None, *groups: str) -> httpx.Response:
    """As cadcutils and OpenCADC ask: a GET, with a bearer token, and ``group`` as often as there are groups."""
    headers = {"authorization": f"Bearer {secret.text}"} if secret is not None else {}
    return http.get(f"{centre.url}/auth/gms/search", headers=headers, params=[("group", name) for name in groups])


def test_other_services_learn_in_which_groups_their_caller_is(centre: IdentityCentre) -> None:
    administration = centre.administration
    administration.add_members("survey", ["bob"], actor=ME)
    administration.add_members("team-a", ["bob"], actor=ME)
    bob, cyd = centre.token("bob"), centre.token("cyd")
    every = search(centre, bob)
    assert (every.status_code, every.content) == (200, b"survey\r\nteam-a\r\n")
    assert every.headers["content-type"].startswith("text/plain")
    assert search(centre, bob, "team-a").content == b"team-a\r\n"
    assert search(centre, bob, "team-a", "survey", "unheard-of").content == b"survey\r\nteam-a\r\n"
    for groups in ((), ("survey",), ("unheard-of",)):
        none = search(centre, cyd, *groups)
        assert (none.status_code, none.content) == (200, b"")
    assert search(centre, bob, "unheard-of").content == b""
    administration.remove_members("survey", ["bob"], actor=ME)
    assert search(centre, bob).content == b"team-a\r\n"
    nobody = search(centre, None, "survey")
    assert nobody.status_code == 401
    assert {challenge.split()[0] for challenge in nobody.headers.get_list("www-authenticate", split_commas=False)} == {
        "Basic",
        "ivoa_bearer",
        "ivoa_cookie",
        "Bearer",
    }
    administration.freeze("cyd", "a test", actor=ME)
    assert search(centre, cyd).status_code == 403


def test_clients_find_the_search_and_how_to_log_in_to_it(centre: IdentityCentre) -> None:
    found = ET.fromstring(http.get(f"{centre.url}/auth/gms/capabilities").content)  # noqa: S314  our own document
    known = {each.attrib["standardID"]: each for each in found.findall("capability")}
    assert set(known) == {
        "ivo://ivoa.net/std/gms#search-1.0",
        "ivo://ivoa.net/std/GMS#search-1.0",
        "ivo://ivoa.net/std/VOSI#capabilities",
        "ivo://ivoa.net/std/VOSI#availability",
    }
    for standard in ("gms", "GMS"):
        interface = known[f"ivo://ivoa.net/std/{standard}#search-1.0"].find("interface")
        assert interface is not None
        assert (interface.attrib["role"], interface.findtext("accessURL")) == ("std", f"{centre.url}/auth/gms/search")
        methods = [each.attrib["standardID"] for each in interface.findall("securityMethod")]
        assert methods == ["ivo://ivoa.net/sso#token", "ivo://ivoa.net/sso#BasicAA", "ivo://ivoa.net/sso#cookie"]
        assert [child.tag for child in interface] == ["accessURL", *["securityMethod"] * 3]
    assert b"<avail:available>true<" in http.get(f"{centre.url}/auth/gms/availability").content
