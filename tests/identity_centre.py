"""A whole centre with log-in, as dac.yaml makes it: one public table, one that needs a data right, and people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from starlette.applications import Starlette

from archive_fixture import build_archive, star_table
from idac.core.loading import load_settings
from idac.identity.administration import Administration
from idac.identity.credentials import Secret
from idac.identity.ledger import Ledger
from idac.wiring.app import build_centre
from idac.wiring.quotas import QuotaDesk
from idac.wiring.settings import DacSettings
from services import http
from services.http_server import serving

WORDS = "correct horse battery"
ME = "local:tester"
CONFIG = """\
server: {{ processes: 1 {server} }}
engine: {{ memory_gib: 1, threads: 2, interactive_places: 2, heavy_places: 1 }}
jobs: {{ workers: 1, poll_s: 0.05 }}
catalogs:
  read: {{ demo: [public] }}
  refresh_s: 0
identity:
  enabled: true
  check_s: {check_s}
  watch_s: 0.1
  guesses_per_address: {guesses}
  {identity}
  rights:
    dp1: {{ title: Data Preview 1, tables: [dp1], ask: write to dp1@example.org. }}
"""
RESTRICTED = "SELECT TOP 1 id FROM dp1.object"
PUBLIC = "SELECT TOP 1 id FROM demo.stars"


@dataclass(frozen=True)
class IdentityCentre:
    """A running centre, and the way in that its operator's command line has."""

    url: str
    app: Starlette
    administration: Administration
    folder: Path
    quotas: QuotaDesk
    ledger: Ledger

    @property
    def tap(self) -> str:
        return f"{self.url}/api/tap"

    def user(self, name: str, *, right: bool = False, admin: bool = False, service: bool = False) -> None:
        """A new account, with the data right dp1 where asked for."""
        kind = "service" if service else "user"
        password = None if service else WORDS
        self.administration.add_account(name, actor=ME, kind=kind, is_admin=admin, password=password)  # type: ignore[arg-type]
        if right:
            self.administration.add_members(f"{name}-team", [name], actor=ME)
            self.administration.grant(f"{name}-team", "dp1", actor=ME)

    def token(self, name: str, *scopes: str, **kind: object) -> Secret:
        chosen = scopes or ("read:tap",)
        return self.administration.add_token(name, "test", actor=ME, scopes=chosen, **kind)[1]  # type: ignore[arg-type]

    def query(self, adql: str = RESTRICTED, secret: Secret | str | None = None, **options: object) -> httpx.Response:
        """A synchronous query, as whoever the token names."""
        text = secret.text if isinstance(secret, Secret) else secret
        headers = {"authorization": f"Bearer {text}"} if text is not None else {}
        data = {"LANG": "ADQL", "QUERY": adql, "FORMAT": "csv"}
        return http.post(f"{self.tap}/sync", data=data, headers=headers, **options)  # type: ignore[arg-type]

    def browser(self) -> httpx.Client:
        """A client that keeps cookies and follows nothing by itself."""
        return http.client(self.url)

    def log_in(self, name: str, browser: httpx.Client) -> httpx.Response:
        """Fill in the log-in form as a person does."""
        form = form_token_of(browser.get("/auth/login"))
        return browser.post("/auth/login", data={"username": name, "password": WORDS, "csrf": form})


def form_token_of(page: httpx.Response) -> str:
    """The hidden text that a page's forms carry."""
    return page.text.partition('name="csrf" value="')[2].partition('"')[0]


def ago(**by: float) -> datetime:
    return datetime.now(UTC) - timedelta(**by)


def ahead(**by: float) -> datetime:
    return datetime.now(UTC) + timedelta(**by)


@contextmanager
def identity_centre(
    folder: Path, *, identity: str = "", server: str = "", guesses_per_address: int = 1000, check_s: float = 0
) -> Iterator[IdentityCentre]:
    """The centre, served from *folder*; *identity* adds lines to that section of dac.yaml."""
    build_archive(folder, {"demo.stars": star_table(200), "dp1.object": star_table(300, seed=2)})
    (folder / "dac.yaml").write_text(
        CONFIG.format(
            identity=identity, server=f", {server}" if server else "", guesses=guesses_per_address, check_s=check_s
        )
    )
    centre = build_centre(load_settings(DacSettings, folder / "dac.yaml"))
    assert centre.identity is not None
    with serving(centre.app) as url:
        own = centre.identity
        yield IdentityCentre(url, centre.app, own.administration, folder, own.quotas, own.ledger)
