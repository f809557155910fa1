"""What is written down of those who are not let in: whoever a credential belongs to, and nobody by a guess."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from idac.identity.credentials import Secret
from idac.identity.impersonation import Impersonation
from idac.identity.schema import TOKENS
from identity_centre import ME, PUBLIC, WORDS, IdentityCentre, ago, ahead, identity_centre
from services import http


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre"), identity="basic_passwords: true") as running:
        running.user("boss", admin=True)
        yield running


def refused(centre: IdentityCentre) -> list[tuple[str, object]]:
    """Who was refused the query of these tests, and why, newest last."""
    centre.ledger.flush()
    entries = centre.administration.store.iter_audit(actions=["refused"])
    return [(entry.actor, entry.detail["why"]) for entry in entries if entry.subject == "/api/tap/sync"]


def over(centre: IdentityCentre, secret: Secret) -> None:
    with centre.administration.store.write() as records:
        ended = TOKENS.update().where(TOKENS.c.key == secret.key)
        records.connection.execute(ended.values(expires=records.ms - 1))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("frozen", "This account is frozen."),
        ("over", "This account has expired."),
        ("revoked", "This token was revoked."),
        ("late", "This token has expired."),
    ],
)
def test_a_refusal_is_the_accounts_whose_token_it_was(centre: IdentityCentre, how: str, why: str) -> None:
    name = f"{how}-one"
    centre.user(name)
    secret = centre.token(name, expires=ahead(days=1))
    administration = centre.administration
    if how == "frozen":
        administration.freeze(name, "a test", actor=ME)
    elif how == "over":
        administration.expire(name, ago(seconds=1), actor=ME)
    elif how == "revoked":
        administration.revoke(secret.key, actor=ME)
    else:
        over(centre, secret)
    assert centre.query(PUBLIC, secret).status_code == (403 if how in ("frozen", "over") else 401)
    assert refused(centre)[-1] == (name, why)


def test_a_refusal_is_the_accounts_whose_log_in_or_password_it_was(centre: IdentityCentre) -> None:
    centre.user("cold")
    with centre.browser() as browser:
        centre.log_in("cold", browser)
        # Freezing ends log-ins; an account that expires has some still.
        centre.administration.expire("cold", ago(seconds=1), actor=ME)
        query = {"LANG": "ADQL", "QUERY": PUBLIC}
        assert browser.get("/api/tap/sync", params=query).status_code == 403
    assert refused(centre)[-1] == ("cold", "This account has expired.")
    centre.user("ice")
    centre.administration.freeze("ice", "a test", actor=ME)
    assert http.get(f"{centre.tap}/sync", params=query, auth=("ice", WORDS)).status_code == 403
    assert refused(centre)[-1] == ("ice", "This account is frozen.")


def test_a_refusal_of_a_lent_token_is_the_administrators(centre: IdentityCentre) -> None:
    centre.user("eve")
    _, secret = Impersonation(centre.administration).lend("eve", "a test", actor="boss", administrator="boss")
    centre.administration.freeze("eve", "a test", actor=ME)
    assert centre.query(PUBLIC, secret).status_code == 403
    assert refused(centre)[-1] == ("boss", "This account is frozen.")


def test_a_guess_names_nobody(centre: IdentityCentre) -> None:
    centre.user("joe")
    secret = centre.token("joe")
    centre.administration.freeze("joe", "a test", actor=ME)
    forged = secret.text[:-1] + ("0" if secret.text[-1] != "0" else "1")
    assert centre.query(PUBLIC, forged).status_code == 401
    assert refused(centre)[-1] == ("anonymous", "This token or log-in is not known here.")
