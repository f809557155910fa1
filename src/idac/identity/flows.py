"""Log-ins under way at an identity provider: each bound to the browser that began it, and finished once or never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from authlib.common.security import generate_token

from idac.core.errors import NotAuthenticated, TooOften
from idac.identity.credentials import Secret, matches, new_secret, parse_plain
from idac.identity.schema import FLOWS
from idac.identity.store import IdentityStore, ms
from idac.web.callers import network_of

#: Seconds from the button to the return: time for a second factor, and for finding the telephone.
FLOW_S = 600
#: Log-ins that one address may have under way, so that nobody fills the state database with them.
MOST_PER_ADDRESS = 200


@dataclass(frozen=True, slots=True)
class Flow:
    """A log-in under way. *session* is that of somebody who links a further identity to the account."""

    provider: str
    nonce: str
    verifier: str
    redirect_uri: str
    next_path: str
    session: str | None = None


class Flows:
    """Thread-safe."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store

    def begin(
        self, provider: str, *, redirect_uri: str, next_path: str, address: str, session: str | None = None
    ) -> tuple[Flow, Secret]:
        """A new flow and its secret: the key is the state that travels, the whole text stays in the browser's cookie.

        The nonce and the PKCE verifier are random and leave this centre only towards the provider.
        """
        secret = new_secret(prefix="")
        flow = Flow(provider, generate_token(43), generate_token(64), redirect_uri, next_path, session)
        network = network_of(address)
        with self._store.write() as records:
            connection = records.connection
            connection.execute(sa.delete(FLOWS).where(FLOWS.c.expires <= records.ms))
            counted = sa.select(sa.func.count()).select_from(FLOWS).where(FLOWS.c.address == network)
            if connection.execute(counted).scalar_one() >= MOST_PER_ADDRESS:
                raise TooOften(
                    "Too many log-ins were begun from this address and not finished.",
                    next_step="Try again in ten minutes.",
                    retry_after_s=FLOW_S,
                )
            connection.execute(
                FLOWS.insert().values(
                    key=secret.key,
                    digest=secret.digest,
                    provider=provider,
                    nonce=flow.nonce,
                    verifier=flow.verifier,
                    redirect_uri=redirect_uri,
                    next_path=next_path,
                    session=session,
                    address=network,
                    expires=ms(records.now + timedelta(seconds=FLOW_S)),
                )
            )
        return flow, secret

    def take(self, provider: str, state: str, cookie: str) -> Flow:
        """The flow of *state*, which is over with this; NotAuthenticated where this browser did not begin it here."""
        presented = parse_plain(cookie)
        if presented is None or presented.key != state:
            raise _not_begun()
        with self._store.write() as records:
            taken = sa.delete(FLOWS).where(FLOWS.c.key == presented.key, FLOWS.c.digest == presented.digest)
            row = records.connection.execute(taken.returning(*FLOWS.c)).first()
            now = records.ms
        if row is None or not matches(presented, row.digest) or row.expires <= now or row.provider != provider:
            raise _not_begun()
        return Flow(row.provider, row.nonce, row.verifier, row.redirect_uri, row.next_path, row.session)


def _not_begun() -> NotAuthenticated:
    return NotAuthenticated(
        "This log-in was not begun in this browser, or is over already.",
        allowed=f"one return from the provider, within {FLOW_S // 60} minutes",
        next_step="Begin again.",
    )
