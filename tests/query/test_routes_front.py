"""The page at the root: what people see who open the centre's address in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from defusedxml.ElementTree import fromstring
from starlette.applications import Starlette

from archive_fixture import build_archive, star_table
from engine_fixture import small_engine
from idac.catalogs.archive import Archive
from idac.core.principal import ANONYMOUS
from idac.core.rights import ReadRule, RightsPolicy
from idac.query.adql.compiler import QueryCompiler
from idac.query.routes_front import FrontRoutes
from idac.query.service import QueryService
from idac.query.settings import QuerySettings
from idac.web.app import build_app
from idac.web.context import WebContext
from idac.web.settings import ServerSettings
from services import http
from services.http_server import serving

XHTML = "{http://www.w3.org/1999/xhtml}"


EVERYONE = RightsPolicy({}, ReadRule.of(["public"]))


def front(archive: Archive, folder: Path, rights: RightsPolicy = EVERYONE, **more: Any) -> Starlette:
    """The page alone; its queries never reach an engine."""
    web = WebContext(ServerSettings(public_url="https://dac.example.org"), folder)
    with small_engine(folder) as engine:
        queries = QueryService(archive, engine, QueryCompiler(rights), QuerySettings())
    return build_app(FrontRoutes(queries, web, title="Stars & more", **more).routes())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tables = {"demo.stars": star_table(300), "demo.2 visits": pa.table({"visit": [1, 2]})}
    folder = tmp_path_factory.mktemp("archive")
    with serving(front(build_archive(folder, tables), folder)) as url:
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
    with serving(front(build_archive(tmp_path, {}), tmp_path, run_by=("Stars & Co", "a@b.org"))) as url:
        footer = fromstring(http.get(url).content).find(f".//{XHTML}footer")
    assert footer is not None
    assert "".join(footer.itertext()) == "Published by Stars & Co · Questions: a@b.org"
    assert [a.get("href") for a in footer.iter(f"{XHTML}a")] == ["mailto:a@b.org"]


def test_of_what_is_not_for_the_caller_it_says_for_whom_it_is_and_not_how_much_there_is(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(300), "dp1.object": star_table(200)})
    rules = RightsPolicy({"dp1": ReadRule.of(["team"], ["dp1"])}, ReadRule.of(["public"]))
    pages = front(archive, tmp_path, rules, own_pages=lambda p: [("Log in" if p is ANONYMOUS else "Tokens", "/auth/x")])
    with serving(pages) as url:
        root = fromstring(http.get(f"{url}/").content)
    rows = [["".join(cell.itertext()) for cell in row] for row in root.iter(f"{XHTML}tr")]
    assert rows[1:] == [
        ["demo.stars", "The table demo.starsCone search: https://dac.example.org/api/scs/demo.stars", "300", "6"],
        ["dp1.object", "The table dp1.objectFor holders of the data right dp1 and members of team.", "–", "6"],
    ]
    first = next(root.iter(f"{XHTML}p"))
    assert ["".join(first.itertext()), *(a.get("href") for a in first)] == ["Log in", "/auth/x"]


def test_a_centre_without_tables_says_so(tmp_path: Path) -> None:
    with serving(front(build_archive(tmp_path, {}), tmp_path)) as url:
        assert "<p>None is published yet.</p>" in http.get(url).text
