"""A provider that lies, and people in its place: nothing gets in but what is signed, fresh and for this log-in."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from forged_log_in import ALLOWED, BAD, FORGED, begun, finished, outcome, refused
from idac.core.errors import BadConfiguration
from idac.identity import flows, oidc
from identity_centre import IdentityCentre, identity_centre
from services.http_server import serving
from services.oidc_forger import Forger, huge, keyed, new_key, public_jwk, public_pem, signed, unsigned

FOREIGN = new_key()


@pytest.fixture(scope="module")
def forger() -> Iterator[Forger]:
    made = Forger()
    with serving(made.app()) as url:
        made.url = url
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, forger: Forger) -> Iterator[IdentityCentre]:
    groups = {"claims": {"groups": ["groups"]}, "allow": {"groups": ["in"]}, "groups": {"in": "inside"}}
    providers = {
        "sso": {"issuer": forger.url, "client_id": "idac"},
        "picky": {"issuer": f"{forger.url}/", "client_id": "idac", **groups},
    }
    with identity_centre(tmp_path_factory.mktemp("centre"), identity=f"providers: {json.dumps(providers)}") as served:
        yield served


@pytest.fixture
def centre(shared: IdentityCentre, forger: Forger, monkeypatch: pytest.MonkeyPatch) -> IdentityCentre:
    """Nothing is remembered of a provider that was good or bad in the test before."""
    forger.good()
    monkeypatch.setattr(oidc, "_FRESH_S", 0.0)
    monkeypatch.setattr(oidc, "RETRY_S", 0.0)
    return shared


def test_a_good_token_gets_in(centre: IdentityCentre, forger: Forger) -> None:
    answer = outcome(centre, forger, lambda nonce: signed(forger.claims(nonce), forger.key))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    sent = parse_qs(forger.sent["token"]["body"])
    verifier = sent.pop("code_verifier")[0]
    assert len(verifier) == 64
    assert sent == {
        "grant_type": ["authorization_code"], "code": ["a code"], "client_id": ["idac"],
        "redirect_uri": [f"{centre.url}/auth/login/sso/callback"],
    }  # fmt: skip
    # Everything that was asked for was in the token.
    assert forger.asked.get("person") is None


@pytest.mark.parametrize("aud", ["idac", ["idac"], ["idac", "other"]], ids=str)
def test_a_token_may_have_several_audiences_when_it_was_made_for_this_centre(
    centre: IdentityCentre, forger: Forger, aud: object
) -> None:
    answer = outcome(centre, forger, lambda nonce: signed(forger.claims(nonce, aud=aud, azp="idac"), forger.key))
    assert answer.status_code == 303


def late(forger: Forger, nonce: str, **by: float) -> str:
    now = int(time.time())
    return signed(forger.claims(nonce, **{name: now + seconds for name, seconds in by.items()}), forger.key)


ATTACKS: dict[str, tuple[Callable[[Forger, str], str], str]] = {
    "no nonce": (lambda f, n: signed(f.claims(n, nonce=None), f.key), BAD + "missing_claim nonce"),
    "another nonce": (lambda f, n: signed(f.claims("0" * 43), f.key), BAD + "invalid_claim nonce"),
    "nonce in a list": (lambda f, n: signed(f.claims(n, nonce=["x", n]), f.key), BAD + "invalid_claim nonce"),
    "another key": (lambda f, n: signed(f.claims(n), FOREIGN), FORGED),
    "a key that it brings itself": (lambda f, n: signed(f.claims(n), FOREIGN, jwk=public_jwk(FOREIGN)), FORGED),
    "an unknown key": (lambda f, n: signed(f.claims(n), FOREIGN, kid="two"), FORGED),
    "alg none": (lambda f, n: unsigned(f.claims(n)), ALLOWED),
    "alg None": (lambda f, n: unsigned(f.claims(n), "None"), ALLOWED),
    "alg none with a signature": (lambda f, n: signed(f.claims(n), f.key, alg="none"), ALLOWED),
    "HS256 with the public key": (lambda f, n: keyed(f.claims(n), public_pem(f.key)), ALLOWED),
    "HS256 with the modulus": (lambda f, n: keyed(f.claims(n), public_jwk(f.key)["n"].encode()), ALLOWED),
    "HS256 called RS256": (lambda f, n: keyed(f.claims(n), public_pem(f.key), alg="RS256"), FORGED),
    "HS256 with nothing": (lambda f, n: keyed(f.claims(n), b""), ALLOWED),
    "ES256 with an RSA key": (lambda f, n: signed(f.claims(n), f.key, alg="ES256"), FORGED),
    "RS512 that is RS256": (lambda f, n: signed(f.claims(n), f.key, alg="RS512"), FORGED),
    "a critical extension": (lambda f, n: signed(f.claims(n), f.key, crit=["x"], x=1), BAD),
    "no signature": (lambda f, n: signed(f.claims(n), f.key).rpartition(".")[0] + ".", FORGED),
    "other claims under the signature": (
        lambda f, n: ".".join(
            (signed(f.claims(n, sub="root"), f.key).rpartition(".")[0], signed(f.claims(n), f.key).rpartition(".")[2])
        ),
        FORGED,
    ),
    "expired": (lambda f, n: late(f, n, exp=-61), BAD + "expired_token exp"),
    "never expires": (lambda f, n: signed(f.claims(n, exp=None), f.key), BAD + "missing_claim exp"),
    "expires in words": (lambda f, n: signed(f.claims(n, exp="tomorrow"), f.key), BAD + "invalid_claim exp"),
    "not yet good": (lambda f, n: late(f, n, nbf=120), BAD),
    "made in the future": (lambda f, n: late(f, n, iat=120), BAD),
    "another audience": (lambda f, n: signed(f.claims(n, aud="other"), f.key), BAD + "invalid_claim aud"),
    "no audience": (lambda f, n: signed(f.claims(n, aud=None), f.key), BAD + "missing_claim aud"),
    "made for another of its audiences": (
        lambda f, n: signed(f.claims(n, aud=["idac", "other"], azp="other"), f.key), BAD + "invalid_claim azp",
    ),
    "several audiences and made for nobody": (
        lambda f, n: signed(f.claims(n, aud=["idac", "other"]), f.key), BAD + "missing_claim azp",
    ),
    "another issuer": (lambda f, n: signed(f.claims(n, iss="https://x.example"), f.key), BAD + "invalid_claim iss"),
    "an issuer like its own": (lambda f, n: signed(f.claims(n, iss=f.url + "/"), f.key), BAD + "invalid_claim iss"),
    "no issuer": (lambda f, n: signed(f.claims(n, iss=None), f.key), BAD + "missing_claim iss"),
    "another access token": (lambda f, n: signed(f.claims(n, at_hash="0" * 22), f.key), BAD + "invalid_claim at_hash"),
    "nobody": (lambda f, n: signed(f.claims(n, sub=None), f.key), BAD + "missing_claim sub"),
    "an empty name": (lambda f, n: signed(f.claims(n, sub=""), f.key), "it names nobody"),
    "a name without end": (lambda f, n: signed(f.claims(n, sub="x" * 256), f.key), "it names nobody"),
    "a number as a name": (lambda f, n: signed(f.claims(n, sub=1815), f.key), BAD + "invalid_claim sub"),
    "no token": (lambda f, n: "", BAD + "decode_error"),
    "no JWT": (lambda f, n: "a.b", BAD + "decode_error"),
    "a list of claims": (lambda f, n: signed([f.claims(n)], f.key), FORGED),  # type: ignore[arg-type]
    "letters that are none": (lambda f, n: "é.é.é", BAD),
    "a token without end": (lambda f, n: signed(f.claims(n, x="x" * 200_000), f.key), BAD + "exceeded_size"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token_that_is_not_good_in_everything_is_refused(centre: IdentityCentre, forger: Forger, attack: str) -> None:
    make, words = ATTACKS[attack]
    answer = outcome(centre, forger, lambda nonce: make(forger, nonce))
    refused(answer, f"The answer of sso can't be believed. Given: {words}")


def test_keys_that_nobody_should_sign_with_are_not_used(centre: IdentityCentre, forger: Forger) -> None:
    short = new_key(1024)
    for keys, key in (
        ([public_jwk(short)], short),
        ([{**public_jwk(forger.key), "use": "enc"}], forger.key),
        ([{**public_jwk(forger.key), "alg": "PS256"}], forger.key),
        ([{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}, {"kty": "RSA", "kid": "one"}, {"kty": "new"}, 7], forger.key),
        ([], forger.key),
    ):
        forger.keys = keys  # type: ignore[assignment]
        refused(outcome(centre, forger, lambda nonce, key=key: signed(forger.claims(nonce), key)), FORGED)


def test_a_token_that_names_no_key_may_be_signed_by_any_of_them(centre: IdentityCentre, forger: Forger) -> None:
    forger.keys = [public_jwk(FOREIGN, None), public_jwk(forger.key, None)]
    answer = outcome(centre, forger, lambda nonce: signed(forger.claims(nonce), forger.key, kid="x"))
    refused(answer, FORGED)
    assert outcome(centre, forger, lambda nonce: signed(forger.claims(nonce), forger.key, kid=None)).status_code == 303


def test_keys_that_changed_are_fetched_and_made_up_ones_are_no_flood(
    centre: IdentityCentre, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_FRESH_S", 1e9)
    monkeypatch.setattr(oidc, "LOOK_AGAIN_S", 0.0)
    forger.keys = [public_jwk(FOREIGN, "two")]
    assert outcome(centre, forger, lambda n: signed(forger.claims(n), FOREIGN, kid="two")).status_code == 303
    refused(outcome(centre, forger, lambda n: signed(forger.claims(n), forger.key)), FORGED)
    monkeypatch.setattr(oidc, "LOOK_AGAIN_S", 1e9)
    asked = forger.asked["keys"]
    for number in range(5):
        made_up = f"made up {number}"
        refused(outcome(centre, forger, lambda n, kid=made_up: signed(forger.claims(n), FOREIGN, kid=kid)), FORGED)
    assert forger.asked["keys"] == asked


# -- user information and groups ---------------------------------------------------------------------------------------


def test_user_information_is_asked_for_what_the_token_lacks_and_believed_of_nobody_else(
    centre: IdentityCentre, forger: Forger
) -> None:
    forger.person = {"sub": "1815", "email": "other@example.org", "name": "From user-info"}
    answer = outcome(centre, forger, lambda n: signed(forger.claims(n, name=None), forger.key))
    assert answer.status_code == 303
    assert forger.sent["person"]["authorization"] == "Bearer an access token"
    account = next(found for found in centre.administration.accounts() if found.full_name == "From user-info")
    assert account.email == "ada@example.org"  # the token's own word comes first
    forger.person = {"sub": "1816", "name": "Somebody else"}
    answer = outcome(centre, forger, lambda n: signed(forger.claims(n, name=None), forger.key))
    refused(answer, "its user information is of somebody else")
    forger.answers["person"] = lambda: Response("no", 403)
    answer = outcome(centre, forger, lambda n: signed(forger.claims(n, name=None), forger.key))
    refused(answer, "The identity provider does not answer as it should. Given: status 403.", 503)


def test_only_those_in_a_group_that_may_come_in_do(centre: IdentityCentre, forger: Forger) -> None:
    issuer = forger.discovery["issuer"] = f"{forger.url}/"
    for groups in ([], ["out", "IN", "in "], None, {"in": True}):
        with centre.browser() as browser:
            state, nonce = begun(browser, "picky")
            forger.id_token = signed(forger.claims(nonce, iss=issuer, sub="7", groups=groups), forger.key)
            forger.person = {"sub": "7"}
            answer = finished(browser, state, "picky")
            refused(answer, "Your account at the identity provider is in no group that may log in here.", 403)
    with centre.browser() as browser:
        state, nonce = begun(browser, "picky")
        forger.id_token = signed(forger.claims(nonce, iss=issuer, sub="7", groups=["in"]), forger.key)
        assert finished(browser, state, "picky").status_code == 303


# -- what the provider says of itself ----------------------------------------------------------------------------------


DISCOVERY: dict[str, tuple[Callable[[Forger], Response], str]] = {
    "without end": (lambda _: huge(), "more than 524288 bytes"),
    "a page": (lambda _: Response("<html>", media_type="text/html"), "no JSON"),
    "a list": (lambda _: JSONResponse([1]), "no JSON object"),
    "deep": (lambda _: Response("[" * 200_000), "no JSON"),
    "an error": (lambda _: JSONResponse({}, 500), "status 500"),
    "a redirect": (lambda f: RedirectResponse(f"{f.url}/keys"), "status 307"),
    "compressed": (
        lambda f: Response(gzip.compress(json.dumps(f.discovery).encode()), headers={"content-encoding": "gzip"}),
        "a compressed answer that was not asked for",
    ),
}


@pytest.mark.parametrize("kind", DISCOVERY)
def test_a_discovery_document_that_is_none_is_told_as_an_outage(
    centre: IdentityCentre, forger: Forger, kind: str
) -> None:
    make, words = DISCOVERY[kind]
    forger.answers["discovery"] = lambda: make(forger)
    with centre.browser() as browser:
        refused(
            browser.get("/auth/login/sso"),
            f"The identity provider does not answer as it should. Given: {words}. "
            "Try again in a minute, or log in another way; if it lasts, tell the operator.",
            503,
        )


def test_a_provider_that_just_failed_is_not_asked_by_everyone_again(
    centre: IdentityCentre, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    forger.answers["discovery"] = lambda: JSONResponse({}, 500)
    with centre.browser() as browser:
        refused(browser.get("/auth/login/sso"), "status 500", 503)
        monkeypatch.setattr(oidc, "RETRY_S", 1e9)
        refused(browser.get("/auth/login/sso"), "status 500", 503)
        assert forger.asked["discovery"] == 1
        forger.answers.clear()
        monkeypatch.setattr(oidc, "RETRY_S", 0.0)
        begun(browser)


def test_every_other_answer_is_bounded_too(centre: IdentityCentre, forger: Forger) -> None:
    for place in ("token", "keys", "person"):
        forger.good()
        forger.answers[place] = huge
        answer = outcome(centre, forger, lambda n: signed(forger.claims(n, name=None), forger.key))
        refused(answer, "more than 524288 bytes", 503)
    forger.good()
    forger.answers["token"] = lambda: JSONResponse({"error": "invalid_client"}, 401)
    refused(outcome(centre, forger, lambda n: ""), "it refused the code")
    for tokens in ({}, {"id_token": 7, "access_token": "x"}, {"access_token": "x"}):
        forger.answers["token"] = lambda tokens=tokens: JSONResponse(tokens)  # type: ignore[misc]
        refused(outcome(centre, forger, lambda n: ""), "it sent no tokens")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("issuer", "https://evil.example", "calls itself by another name. Given: issuer https://evil.example."),
        ("issuer", None, "calls itself by another name. Given: issuer None."),
        ("token_endpoint", "http://evil.example/token",
         "names no https address. Given: token_endpoint http://evil.example/token. Allowed: https addresses. "),
        ("jwks_uri", "file:///etc/passwd", "names no https address. Given: jwks_uri file:///etc/passwd."),
        ("authorization_endpoint", "javascript:alert(1)", "names no https address."),
        ("authorization_endpoint", None, "names no https address."),
        ("userinfo_endpoint", "https://user:pass@evil.example", "names no https address."),
    ],
)  # fmt: skip
def test_a_provider_that_is_not_the_one_that_was_named_is_not_used(
    centre: IdentityCentre, forger: Forger, key: str, value: object, words: str
) -> None:
    forger.discovery[key] = value
    with centre.browser() as browser:
        answer = browser.get("/auth/login/sso")
        refused(answer, f"The provider sso {words}", BadConfiguration.status)
        assert "The operator corrects identity.providers.sso.issuer in dac.yaml." in unescape(answer.text)


def test_a_provider_that_is_slow_is_waited_for_no_longer_than_the_operator_said(tmp_path: Path, forger: Forger) -> None:
    forger.good()
    silent = socket.create_server(("127.0.0.1", 0))
    issuer = f"http://127.0.0.1:{silent.getsockname()[1]}"
    providers = {"slow": {"issuer": issuer, "client_id": "idac", "timeout_s": 0.1}}
    settings = f"providers: {json.dumps(providers)}"
    with silent, identity_centre(tmp_path, identity=settings) as own, own.browser() as browser:
        refused(browser.get("/auth/login/slow"), "Given: no answer in 0.1 s.", 503)


# -- floods ------------------------------------------------------------------------------------------------------------


def test_log_ins_that_are_never_finished_fill_nothing(
    centre: IdentityCentre, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "MOST_PER_ADDRESS", 0)
    with centre.browser() as browser:
        answer = browser.get("/auth/login/sso")
        refused(
            answer, "Too many log-ins were begun from this address and not finished. Try again in ten minutes.", 429
        )
        assert answer.headers["retry-after"] == "600"
