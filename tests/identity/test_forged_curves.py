"""ID tokens signed with Ed25519, and what can be made to look like them with other keys and other algorithms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from forged_log_in import ALLOWED, BAD, FORGED, outcome, refused
from idac.identity import oidc
from identity_centre import IdentityCentre, identity_centre
from services.http_server import serving
from services.oidc_forger import Forger, curve_jwk, keyed, public_jwk, public_pem, signed, signed_by_curve

CURVE, FOREIGN, OTHER_CURVE = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), Ed448PrivateKey.generate()
RAW = CURVE.public_key().public_bytes_raw()


@pytest.fixture(scope="module")
def forger() -> Iterator[Forger]:
    made = Forger()
    with serving(made.app()) as url:
        made.url = url
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, forger: Forger) -> Iterator[IdentityCentre]:
    providers = {"sso": {"issuer": forger.url, "client_id": "idac"}}
    with identity_centre(tmp_path_factory.mktemp("centre"), identity=f"providers: {json.dumps(providers)}") as served:
        yield served


@pytest.fixture
def centre(shared: IdentityCentre, forger: Forger, monkeypatch: pytest.MonkeyPatch) -> IdentityCentre:
    """A provider with a key of each kind."""
    forger.good()
    forger.keys = [public_jwk(forger.key), curve_jwk(CURVE)]
    monkeypatch.setattr(oidc, "_FRESH_S", 0.0)
    monkeypatch.setattr(oidc, "RETRY_S", 0.0)
    return shared


@pytest.mark.parametrize("key_says", [None, "EdDSA", "Ed25519"])
@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
def test_a_good_token_gets_in_by_either_name_of_the_algorithm(
    centre: IdentityCentre, forger: Forger, algorithm: str, key_says: str | None
) -> None:
    forger.keys[1] |= {"alg": key_says} if key_says else {}
    answer = outcome(centre, forger, lambda n: signed_by_curve(forger.curve_claims(n), CURVE, alg=algorithm))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_the_other_key_is_good_as_before(centre: IdentityCentre, forger: Forger) -> None:
    assert outcome(centre, forger, lambda n: signed(forger.claims(n), forger.key)).status_code == 303


ATTACKS: dict[str, tuple[Callable[[Forger, str], str], str]] = {
    "another key": (lambda f, n: signed_by_curve(f.curve_claims(n), FOREIGN), FORGED),
    "a key that it brings itself": (
        lambda f, n: signed_by_curve(f.curve_claims(n), FOREIGN, jwk=curve_jwk(FOREIGN)), FORGED,
    ),
    "another curve": (lambda f, n: signed_by_curve(f.curve_claims(n), OTHER_CURVE), FORGED),
    "another curve by its name": (lambda f, n: signed_by_curve(f.curve_claims(n), OTHER_CURVE, alg="Ed448"), ALLOWED),
    "a name in other letters": (lambda f, n: signed_by_curve(f.curve_claims(n), CURVE, alg="eddsa"), ALLOWED),
    "called RS256": (lambda f, n: signed_by_curve(f.curve_claims(n), CURVE, alg="RS256"), FORGED),
    "called RS256 by the other key": (
        lambda f, n: signed_by_curve(f.curve_claims(n), CURVE, alg="RS256", kid="one"), FORGED,
    ),
    "called ES256": (lambda f, n: signed_by_curve(f.curve_claims(n), CURVE, alg="ES256"), FORGED),
    "called HS256": (lambda f, n: signed_by_curve(f.curve_claims(n), CURVE, alg="HS256"), ALLOWED),
    "called none": (lambda f, n: signed_by_curve(f.curve_claims(n), CURVE, alg="none"), ALLOWED),
    "RS256 called EdDSA": (lambda f, n: signed(f.curve_claims(n), f.key, alg="EdDSA"), FORGED),
    "RS256 called EdDSA by the curve's key": (
        lambda f, n: signed(f.curve_claims(n), f.key, alg="EdDSA", kid="curve"), FORGED,
    ),
    "HS256 with the public key": (lambda f, n: keyed(f.curve_claims(n), RAW, kid="curve"), ALLOWED),
    "HS256 with the public key in letters": (
        lambda f, n: keyed(f.curve_claims(n), curve_jwk(CURVE)["x"].encode(), kid="curve"), ALLOWED,
    ),
    "HS256 called EdDSA": (lambda f, n: keyed(f.curve_claims(n), RAW, alg="EdDSA", kid="curve"), FORGED),
    "HS256 with the other key called EdDSA": (
        lambda f, n: keyed(f.curve_claims(n), public_pem(f.key), alg="EdDSA"), FORGED,
    ),
    "the key of the other kind": (lambda f, n: signed_by_curve(f.curve_claims(n), CURVE, kid="one"), FORGED),
    "no signature": (
        lambda f, n: signed_by_curve(f.curve_claims(n), CURVE).rpartition(".")[0] + ".", FORGED,
    ),
    "another access token": (
        lambda f, n: signed_by_curve(f.curve_claims(n, at_hash="0" * 43), CURVE), BAD + "invalid_claim at_hash",
    ),
    "another access token by the newer name": (
        lambda f, n: signed_by_curve(f.curve_claims(n, at_hash="0" * 43), CURVE, alg="Ed25519"),
        BAD + "invalid_claim at_hash",
    ),
    "the hash of another algorithm": (lambda f, n: signed_by_curve(f.claims(n), CURVE), BAD + "invalid_claim at_hash"),
    "another nonce": (lambda f, n: signed_by_curve(f.curve_claims("0" * 43), CURVE), BAD + "invalid_claim nonce"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token_that_is_not_good_in_everything_is_refused(centre: IdentityCentre, forger: Forger, attack: str) -> None:
    make, words = ATTACKS[attack]
    answer = outcome(centre, forger, lambda nonce: make(forger, nonce))
    refused(answer, f"The answer of sso can't be believed. Given: {words}")


def test_keys_that_sign_nothing_here_are_not_used(centre: IdentityCentre, forger: Forger) -> None:
    for key in (
        curve_jwk(OTHER_CURVE, "Ed448"),
        curve_jwk(OTHER_CURVE),  # says that it is of the curve that is taken
        curve_jwk(X25519PrivateKey.generate(), "X25519"),
        curve_jwk(CURVE) | {"use": "enc"},
        curve_jwk(CURVE) | {"alg": "Ed448"},
        curve_jwk(CURVE) | {"alg": ["EdDSA"]},
        curve_jwk(CURVE) | {"kty": "EC"},
        curve_jwk(CURVE) | {"x": 7},
        {"kty": "OKP", "crv": "Ed25519", "kid": "curve"},
    ):
        forger.keys = [public_jwk(forger.key), key]  # type: ignore[list-item]
        signer = OTHER_CURVE if "Ed448" in key.values() else CURVE
        refused(
            outcome(centre, forger, lambda n, by=signer: signed_by_curve(forger.curve_claims(n), by)),  # type: ignore[misc]
            FORGED,
        )
