"""Everyone at every door: each kind of caller asks each route that the application has, found by walking its router."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import httpx
import pytest

from idac.identity.impersonation import Impersonation
from idac.identity.schema import TOKENS
from idac.web.routes import PolicyRoute
from identity_centre import ME, RESTRICTED, IdentityCentre, ago, ahead, form_token_of, identity_centre
from services import http

type Door = Literal[
    "front", "open", "data", "jobs", "work", "person", "tokens", "groups", "admin", "forms", "exchange", "session"
]

#: What each address is, by how it begins; the longest that fits counts, and an address that none fits fails.
DOORS: dict[str, Door] = {
    "/": "front",
    "/api/health": "open",
    "/api/tap": "open",
    "/api/tap/sync": "data",
    "/api/tap/async": "jobs",
    "/api/scs/{table}": "data",
    "/api/scs/{table}/": "open",
    "/auth/login": "forms",
    "/auth/logout": "forms",
    "/auth/ivoa/": "exchange",
    "/auth/api/v1/login": "person",
    "/auth/api/v1/user-info": "person",
    "/auth/api/v1/token-info": "person",
    "/auth/api/v1/tokens": "tokens",
    "/auth/tokens": "tokens",
    "/auth/identities": "session",
    "/auth/identities/{provider}": "session",
    "/auth/unlink": "session",
    "/auth/code": "session",
    "/auth/device": "exchange",
    "/auth/token": "exchange",
    "/auth/revoke": "exchange",
    "/.well-known/oauth-authorization-server": "open",
    "/auth/groups": "groups",
    "/auth/invitations": "groups",
    "/auth/join": "groups",
    "/auth/api/v1/groups": "groups",
    "/auth/api/v1/invitations": "groups",
    "/auth/gms/search": "person",
    "/auth/gms/": "open",
    "/auth/quota": "person",
    "/auth/api/v1/quota": "open",
    "/auth/api/v1/users": "admin",
    "/auth/api/v1/audit": "admin",
}
IN, UNKNOWN, SHUT = "let in", 401, 403
DOORS_FOR_ALL: tuple[Door, ...] = ("open", "data", "jobs", "work", "person", "tokens", "groups", "admin", "session")
#: What anyone meets who is known by a token: it opens no door that asks for a browser's log-in.
BY_TOKEN: dict[Door, int | str] = {"open": IN, "jobs": IN, "work": IN, "person": IN, "session": SHUT}
#: What each caller meets at doors of each kind.
EXPECTED: dict[str, dict[Door, int | str]] = {
    "nobody": {**dict.fromkeys(DOORS_FOR_ALL, 401), "open": IN, "jobs": IN, "work": IN},
    "user without the right": {**BY_TOKEN, "data": 403, "tokens": IN, "groups": IN, "admin": 403},
    "user with the right": {**BY_TOKEN, "data": IN, "tokens": IN, "groups": IN, "admin": 403},
    "user whose right has expired": {**BY_TOKEN, "data": 403, "tokens": IN, "groups": IN, "admin": 403},
    "user who has left the group": {**BY_TOKEN, "data": 403, "tokens": IN, "groups": IN, "admin": 403},
    "frozen user": dict.fromkeys(DOORS_FOR_ALL, 403),
    "expired user": dict.fromkeys(DOORS_FOR_ALL, 403),
    "revoked token": dict.fromkeys(DOORS_FOR_ALL, 401),
    "expired token": dict.fromkeys(DOORS_FOR_ALL, 401),
    "made-up token": dict.fromkeys(DOORS_FOR_ALL, 401),
    "token for queries alone": {**BY_TOKEN, "data": IN, "tokens": 403, "groups": 403, "admin": 403},
    "token for tokens alone": {
        **BY_TOKEN, "data": 403, "jobs": 403, "work": 403, "tokens": IN, "groups": 403, "admin": 403,
    },
    "notebook": {**BY_TOKEN, "data": IN, "tokens": 403, "groups": 403, "admin": 403},
    "administrator as user with the right": {
        **BY_TOKEN, "data": IN, "work": 403, "tokens": 403, "groups": 403, "admin": 403,
    },
    "former administrator as user": dict.fromkeys(DOORS_FOR_ALL, 401),
    "service": {**BY_TOKEN, "data": IN, "tokens": IN, "groups": IN, "admin": 403},
    "administrator's token for queries": {**BY_TOKEN, "data": 403, "tokens": 403, "groups": 403, "admin": 403},
    "administrator's token for all": {**dict.fromkeys(DOORS_FOR_ALL, IN), "session": 403},
    "administrator's browser": dict.fromkeys(DOORS_FOR_ALL, IN),
}  # fmt: skip
ALL = ("read:tap", "user:token", "user:groups", "admin")
#: What changes a group, or the caller's place in it.
FORGED = [
    ("POST", "groups"),
    ("DELETE", "groups/nobody"),
    ("POST", "groups/nobody/owner"),
    ("PUT", "groups/nobody/members/holder"),
    ("DELETE", "groups/nobody/members/holder"),
    ("PUT", "groups/nobody/managers/holder"),
    ("DELETE", "groups/nobody/managers/holder"),
    ("POST", "groups/nobody/invitations"),
    ("DELETE", f"groups/nobody/invitations/{'0' * 22}"),
    ("POST", "invitations"),
    ("POST", f"invitations/{'0' * 22}"),
    ("DELETE", f"invitations/{'0' * 22}"),
]


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as served:
        yield served


@pytest.fixture(scope="module")
def callers(centre: IdentityCentre) -> dict[str, Callable[[httpx.Client], None]]:
    """How each caller proves who it is."""
    people = ("plain", "holder", "late", "left", "frozen", "over")
    for name in people:
        centre.user(name, right=name != "plain")
    centre.user("robot", right=True, service=True)
    centre.user("boss", admin=True)
    administration = centre.administration
    administration.grant("late-team", "dp1", actor=ME, expires=ago(seconds=1))
    administration.add_members("left-team", ["left"], actor=ME, expires=ago(seconds=1))
    tokens = {
        "user without the right": centre.token("plain", *ALL),
        "user with the right": centre.token("holder", *ALL),
        "user whose right has expired": centre.token("late", *ALL),
        "user who has left the group": centre.token("left", *ALL),
        "frozen user": centre.token("frozen", *ALL),
        "expired user": centre.token("over", *ALL),
        "revoked token": centre.token("holder", *ALL),
        "expired token": centre.token("holder", *ALL, expires=ahead(days=1)),
        "token for queries alone": centre.token("holder", "read:tap"),
        "token for tokens alone": centre.token("holder", "user:token"),
        "notebook": centre.token("holder", "read:tap", kind="notebook"),
        "service": centre.token("robot", *ALL, kind="service"),
        "administrator's token for queries": centre.token("boss", "read:tap"),
        "administrator's token for all": centre.token("boss", *ALL),
    }
    centre.user("retired", admin=True)
    for who, administrator in (
        ("administrator as user with the right", "boss"),
        ("former administrator as user", "retired"),
    ):
        lent = Impersonation(administration).lend("holder", "a test", actor=ME, administrator=administrator)
        tokens[who] = lent[1]
    administration.freeze("retired", "a test", actor=ME)
    administration.freeze("frozen", "a test", actor=ME)
    administration.expire("over", ago(seconds=1), actor=ME)
    administration.revoke(tokens["revoked token"].key, actor=ME)
    with administration.store.write() as records:
        records.connection.execute(
            TOKENS.update().where(TOKENS.c.key == tokens["expired token"].key).values(expires=records.ms - 1)
        )

    def bearer(text: str) -> Callable[[httpx.Client], None]:
        return lambda client: client.headers.update({"authorization": f"Bearer {text}"})

    def browser(client: httpx.Client) -> None:
        assert centre.log_in("boss", client).status_code == 303
        client.headers["x-csrf-token"] = client.get("/auth/api/v1/login").json()["csrf"]

    made_up = "idac_" + "0" * 65
    proofs = {name: bearer(secret.text) for name, secret in tokens.items()}
    return {**proofs, "nobody": lambda _: None, "made-up token": bearer(made_up), "administrator's browser": browser}


def routes(centre: IdentityCentre) -> list[tuple[str, str]]:
    """Method and path of everything that the application answers."""
    found = []
    for route in centre.app.routes:
        assert isinstance(route, PolicyRoute), f"{route} has no policy"
        found += [(method, route.path) for method in sorted((route.methods or set()) - {"OPTIONS"})]
    return found


def door_of(method: str, path: str) -> Door:
    fitting = [start for start in DOORS if path == start or (path.startswith(start) and start != "/")]
    assert fitting, f"{path} is a door that this test has not heard of"
    found = DOORS[max(fitting, key=len)]
    return "work" if found == "jobs" and method in ("POST", "DELETE") else found


def ask(client: httpx.Client, method: str, path: str) -> httpx.Response:
    """A request that is right in all but who sends it; it changes nothing, as what it names is not there."""
    address = path.replace("{name:path}", "{name}").format(
        table="dp1.object", name="dp1.object" if path.startswith("/api/tap") else "nobody",
        job_id="0" * 40, result_id="result", key="0" * 22, provider="nobody", username="nobody",
    )  # fmt: skip
    query = {"LANG": "ADQL", "QUERY": RESTRICTED, "RA": "0", "DEC": "0", "SR": "0.1"}
    if method in ("GET", "HEAD", "DELETE"):
        return client.request(method, address, params=query if path in ("/api/tap/sync", "/api/scs/{table}") else {})
    if path.startswith("/auth/api/"):
        return client.request(method, address, json={"token_name": "more", "scopes": ["user:token"], "why": "a test"})
    data = {"csrf": client.headers.get("x-csrf-token", ""), "name": "more", "scope": "user:token", "key": "0" * 22}
    return client.request(method, address, data=query if path.startswith("/api/") else data)


@pytest.mark.parametrize("caller", EXPECTED)
def test_everyone_is_let_in_where_they_may_and_nowhere_else(
    centre: IdentityCentre, callers: dict[str, Callable[[httpx.Client], None]], caller: str
) -> None:
    wrong = []
    with centre.browser() as client:
        callers[caller](client)
        for method, path in routes(centre):
            door = door_of(method, path.replace("{name:path}", "{name}"))
            if door in ("forms", "exchange"):
                continue
            answer = ask(client, method, path)
            # Whose log-in has ended reads on the first page what everyone may read.
            expected = IN if door == "front" else EXPECTED[caller][door]
            met = answer.status_code
            fits = met == expected if isinstance(expected, int) else met < 500 and met not in (401, 403)
            if not fits:
                wrong.append(f"{method} {path}: {met}, not {expected}: {answer.text[:200]}")
    assert wrong == []


@pytest.mark.parametrize("caller", EXPECTED)
def test_nobody_sends_a_form_that_was_not_given_to_them(
    centre: IdentityCentre, callers: dict[str, Callable[[httpx.Client], None]], caller: str
) -> None:
    with centre.browser() as client:
        callers[caller](client)
        client.headers.pop("x-csrf-token", None)
        refused = client.post("/auth/login", data={"username": "holder", "password": "x"})
        assert refused.status_code == 403
        assert refused.text.startswith("AuthorizationFault: The form is not one that this browser was given.")
        if caller == "administrator's browser":
            assert client.post("/auth/logout").status_code == 403
            assert client.post("/auth/tokens", data={"name": "x", "scope": "read:tap"}).status_code == 403
            assert client.post("/auth/identities/nobody").status_code == 403
            assert client.post("/auth/code", data={"user_code": "WDJB-MJHT", "decision": "allow"}).status_code == 403
            assert client.post("/auth/unlink", data={"issuer": "x", "subject": "x"}).status_code == 403
            assert client.post("/auth/api/v1/tokens", json={"token_name": "x"}).status_code == 403
            assert client.delete("/auth/api/v1/tokens/" + "0" * 22).status_code == 403
            for group in ("/auth/groups", "/auth/groups/nobody", "/auth/invitations", "/auth/join"):
                assert client.post(group, data={"name": "mine", "act": "delete", "who": "nobody"}).status_code == 403
            for method, rest in FORGED:
                sent = {} if method == "DELETE" else {"json": {"name": "mine"}}
                assert client.request(method, f"/auth/api/v1/{rest}", **sent).status_code == 403, rest
            assert client.get("/auth/api/v1/groups").json() == []
            assert client.post("/auth/api/v1/users/holder/freeze", json={"why": "x"}).status_code == 403
        assert client.get("/auth/login").status_code == 200
        assert client.get("/auth/logout").status_code == 200


def test_every_door_of_the_table_is_there(centre: IdentityCentre) -> None:
    paths = {path.replace("{name:path}", "{name}") for _, path in routes(centre)}
    assert {door for door in DOORS if not any(path.startswith(door) for path in paths)} == set()
    assert {door_of("GET", path) for path in paths} == set(DOORS.values())


def test_jobs_are_their_owners(centre: IdentityCentre) -> None:
    centre.user("ann")
    centre.user("ben")
    ann, ben = centre.token("ann"), centre.token("ben")
    headers = {"authorization": f"Bearer {ann.text}"}
    made = http.post(f"{centre.tap}/async", data={"QUERY": RESTRICTED}, headers=headers).headers["location"]
    assert http.get(made, headers=headers).status_code == 200
    for other in ({}, {"authorization": f"Bearer {ben.text}"}):
        for part in ("", "/phase", "/parameters", "/results", "/error", "/owner", "/results/result"):
            assert http.get(f"{made}{part}", headers=other).status_code == 404
        assert http.post(f"{made}/phase", data={"PHASE": "RUN"}, headers=other).status_code == 404
        assert http.delete(made, headers=other).status_code == 404
    assert made.rpartition("/")[2] in http.get(f"{centre.tap}/async", headers=headers).text
    assert (
        made.rpartition("/")[2]
        not in http.get(f"{centre.tap}/async", headers={"authorization": f"Bearer {ben.text}"}).text
    )


def test_a_form_that_was_given_is_taken(centre: IdentityCentre) -> None:
    centre.user("cat")
    with centre.browser() as browser:
        assert centre.log_in("cat", browser).headers["location"] == "/"
        assert browser.get("/auth/login").text.count("You are logged in as <strong>cat</strong>") == 1
        form = form_token_of(browser.get("/auth/tokens"))
        made = browser.post("/auth/tokens", data={"name": "laptop", "scope": "read:tap", "days": "30", "csrf": form})
        secret = made.text.partition("<pre>")[2].partition("</pre>")[0]
        assert centre.query("SELECT TOP 1 id FROM demo.stars", secret).status_code == 200
        assert secret not in browser.get("/auth/tokens").text
        key = secret[5:27]
        assert browser.post("/auth/tokens/revoke", data={"key": key, "csrf": form}).status_code == 303
        assert centre.query("SELECT TOP 1 id FROM demo.stars", secret).status_code == 401
        assert browser.post("/auth/logout", data={"csrf": form}).headers["location"] == "/auth/login"
        assert browser.get("/auth/api/v1/user-info").status_code == 401
