"""The page at the root: what people see who open the centre's address in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from defusedxml.ElementTree import fromstring
from starlette.applications import Starlette

from archive_fixture import build_archive, star_table
from idac.catalogs.archive import Archive
from idac.query.routes_front import FrontRoutes
from idac.web.app import build_app
from idac.web.context import WebContext
from idac.web.settings import ServerSettings
from services import http
from services.http_server import serving

XHTML = "{http://www.w3.org/1999/xhtml}"


def app(archive: Archive, folder: Path) -> Starlette:
    web = WebContext(ServerSettings(public_url="https://dac.example.org"), folder)
    return build_app(FrontRoutes(archive, web, title="Stars & more").routes())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tables = {"demo.stars": star_table(300), "demo.2 visits": pa.table({"visit": [1, 2]})}
    folder = tmp_path_factory.mktemp("archive")
    with serving(app(build_archive(folder, tables), folder)) as url:
        yield url


def test_it_names_the_address_of_tap_and_every_table(url: str) -> None:
    page = http.get(f"{url}/")
    assert page.headers["content-type"] == "application/xhtml+xml"
    root = fromstring(page.content)
    assert root.findtext(f".//{XHTML}h1") == "Stars & more"
    assert root.findtext(f".//{XHTML}dd/{XHTML}code") == "https://dac.example.org/api/tap"
    rows = [["".join(cell.itertext()) for cell in row] for row in root.iter(f"{XHTML}tr")]
    assert rows[1:] == [
        ["demo.stars", "The table demo.starsCone search: https://dac.example.org/api/scs/demo.stars", "300", "6"],
        ['demo."2 visits"', "The table demo.2 visits", "2", "1"],
    ]
    links = [a.get("href") for a in root.iter(f"{XHTML}a")]
    assert links[-1] == "/api/tap/tables/demo.%222%20visits%22"


def test_it_says_who_answers_for_the_centre(tmp_path: Path) -> None:
    web = WebContext(ServerSettings(), tmp_path)
    routes = FrontRoutes(build_archive(tmp_path, {}), web, title="Stars", run_by=("Stars & Co", "a@b.org")).routes()
    with serving(build_app(routes)) as url:
        footer = fromstring(http.get(url).content).find(f".//{XHTML}footer")
    assert footer is not None
    assert "".join(footer.itertext()) == "Published by Stars & Co · Questions: a@b.org"
    assert [a.get("href") for a in footer.iter(f"{XHTML}a")] == ["mailto:a@b.org"]


def test_a_centre_without_tables_says_so(tmp_path: Path) -> None:
    with serving(app(build_archive(tmp_path, {}), tmp_path)) as url:
        assert "<p>None is published yet.</p>" in http.get(url).text
