"""A program as AuthVO describes it: asks capabilities how to log in, logs in, and goes on with what it got.

What it does was compared with STILTS 3.5.4, which chooses ``ivoa_cookie`` where it may choose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from services import http

_BY_PASSWORD = "ivo://ivoa.net/sso#tls-with-password"  # noqa: S105  the name of a way to log in
_CHALLENGE = re.compile(r'(\w+)\s+(\w+="[^"]*"(?:,\s*\w+="[^"]*")*)')
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class AuthVoClient:
    """A client of the TAP service at *tap*; anonymous until it has logged in."""

    tap: str
    web: httpx.Client

    def challenges(self) -> dict[str, dict[str, str]]:
        """Ways to log in by their scheme, as the answer to HEAD of capabilities has them."""
        headers = self.web.head(f"{self.tap}/capabilities").headers
        found = [_CHALLENGE.fullmatch(text) for text in headers.get_list("www-authenticate")]
        assert None not in found
        return {each[1].lower(): dict(_PARAMETER.findall(each[2])) for each in found if each is not None}

    def log_in(self, scheme: str, name: str, password: str) -> str | None:
        """Log in by *scheme*; returns who the service says that this is, None where it lets nobody in."""
        challenge = self.challenges()[scheme]
        if scheme == "basic":
            self.web.auth = httpx.BasicAuth(name, password)
        else:
            assert challenge["standard_id"] == _BY_PASSWORD
            answer = self.web.post(challenge["access_url"], data={"username": name, "password": password})
            if answer.status_code != 200:
                assert answer.status_code in (401, 403, 429)
                return None
            if scheme == "ivoa_bearer":
                self.web.headers["authorization"] = f"Bearer {answer.headers['x-vo-bearer']}"
        return self.web.head(f"{self.tap}/capabilities").headers.get("x-vo-authenticated")

    def query(self, adql: str) -> httpx.Response:
        return self.web.post(f"{self.tap}/sync", data={"LANG": "ADQL", "QUERY": adql, "FORMAT": "csv"})

    def get(self, path: str) -> httpx.Response:
        return self.web.get(path)


def authvo_client(origin: str) -> AuthVoClient:
    """A new client of the centre at *origin*, which keeps cookies as programs do."""
    return AuthVoClient(f"{origin}/api/tap", http.client(origin))
