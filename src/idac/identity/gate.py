"""Identity as the web sees it: who asks, how to be asked, and what is written down of refusals."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from idac.core.errors import UserError
from idac.core.principal import ANONYMOUS
from idac.identity.identify import Identifier, address_of
from idac.identity.ledger import Ledger
from idac.identity.rates import Meter
from idac.web.routes import Gate
from idac.web.urls import PublicUrl

LOG_IN_PATH = "/auth/login"
BEARER_PATH, COOKIE_PATH = "/auth/ivoa/bearer", "/auth/ivoa/cookie"
_BY_PASSWORD = "ivo://ivoa.net/sso#tls-with-password"  # noqa: S105  the name of a way to log in (IVOA SSO 2.0)


class Challenges:
    """Values of WWW-Authenticate, as IVOA SSO 2.0 and AuthVO have them."""

    def __init__(self, urls: PublicUrl) -> None:
        self._urls = urls

    def __call__(self, request: Request) -> Sequence[str]:
        ivoa = [
            f'{scheme} standard_id="{_BY_PASSWORD}", access_url="{self._urls.of(request, path)}"'
            for scheme, path in (("ivoa_bearer", BEARER_PATH), ("ivoa_cookie", COOKIE_PATH))
        ]
        # A browser would open its own window for a name and a password, over the page that can say more.
        basic = [] if "sec-fetch-mode" in request.headers else ['Basic realm="idac", charset="UTF-8"']
        return [*basic, *ivoa, 'Bearer realm="idac"']


def make_gate(identifier: Identifier, ledger: Ledger, urls: PublicUrl, meter: Meter) -> Gate:
    """The gate of a centre with identity."""

    def note(request: Request, error: UserError) -> None:
        principal = getattr(request.state, "principal", ANONYMOUS)
        # Whoever was not let in is nobody yet, though their credential may have told who they are.
        name = principal.name if principal.kind != "anonymous" else error.holder or principal.name
        ledger.note_refusal(getattr(request.state, "acting", name), request.url.path, address_of(request), error.what)

    return Gate(identifier, Challenges(urls), note, LOG_IN_PATH, meter)
