"""A real OpenID Connect provider (npm's oidc-provider) in a process of its own, and a person at its pages."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from services.programs import free_port, require

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".cache" / "node"
#: Which claims each scope stands for.
CLAIMS = {
    "openid": ["sub"],
    "profile": ["name", "preferred_username"],
    "email": ["email", "email_verified"],
    "groups": ["groups", "wlcg.groups", "realm_access", "isMemberOf", "data_rights"],
}


@dataclass
class OidcProvider:
    """A provider with *people*, who are claims by log-in name. It has other keys each time it starts."""

    people: Mapping[str, Mapping[str, Any]]
    client: Mapping[str, Any]
    #: Whether all claims are in the ID token, as some providers have it, and not only in user-info.
    claims_in_token: bool = False
    #: What its ID tokens are signed with: RS256 or EdDSA.
    algorithm: str = "RS256"
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[str] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, redirect_uri: str) -> None:
        """Start, for a client that is sent back to *redirect_uri*, and wait until it listens."""
        node = require("nodejs", ["node"])["node"]
        if not (MODULES / "node_modules" / "oidc-provider").is_dir():
            pytest.fail("oidc-provider is not installed; run: scripts/setup-node-parts.sh", pytrace=False)
        configuration = {
            "issuer": self.issuer,
            "clients": [
                {
                    **self.client,
                    "redirect_uris": [redirect_uri],
                    "id_token_signed_response_alg": self.algorithm,
                }
            ],
            "algorithm": self.algorithm,
            "claims": CLAIMS,
            "people": self.people,
            "conformIdTokenClaims": not self.claims_in_token,
        }
        self._process = subprocess.Popen(
            [node, str(Path(__file__).parent / "node" / "provider.mjs"), str(MODULES), json.dumps(configuration)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it warns of being unsafe, which is what it is for
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n", "the provider did not start"

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(60)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process = None


@contextmanager
def running(provider: OidcProvider, redirect_uri: str) -> Iterator[OidcProvider]:
    provider.start(redirect_uri)
    try:
        yield provider
    finally:
        provider.stop()


def log_in_there(browser: httpx.Client, url: str, name: str) -> str:
    """Fill in the provider's pages as *name* does; the address that the browser is then sent back to."""
    provider = urlsplit(url).netloc
    for _ in range(12):
        if urlsplit(url).netloc != provider:
            return url
        answer = browser.get(url)
        if answer.status_code == 200:
            prompt = answer.text.partition('name="prompt" value="')[2].partition('"')[0]
            assert prompt in ("login", "consent"), answer.text
            answer = browser.post(url, data={"prompt": prompt, "login": name, "password": "any"})
        assert answer.status_code in (302, 303), answer.text
        url = urljoin(url, answer.headers["location"])
    raise AssertionError("the provider goes round in circles")
