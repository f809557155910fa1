"""LSDB opens the files that a running centre serves, and finds what TAP finds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import dask
import pyarrow.csv
import pytest

from archive_fixture import open_archive
from clients.survey import DEFAULT_MAX_ROWS
from services.idac_process import IdacProcess

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # LSDB's dependencies warn of each other while they are imported
    import lsdb


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


def catalogue(survey: IdacProcess, table: str) -> lsdb.Catalog:
    archive = open_archive(survey.folder)
    root = archive.root_url(archive.manifest().tables[table][0])
    return lsdb.open_catalog(root.rpartition("/")[0])


def answer(survey: IdacProcess, query: str) -> list[tuple[object, ...]]:
    """The rows of a TAP answer, in order."""
    table = pyarrow.csv.read_csv(pyarrow.py_buffer(survey.sync(query, FORMAT="csv", MAXREC="1000000").content))
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize(("ra", "dec", "radius"), [(10.0, -5.0, 0.3), (0.0, 89.0, 20.0), (359.9, 0.0, 15.0)])
def test_cones_agree(survey: IdacProcess, ra: float, dec: float, radius: float) -> None:
    found = catalogue(survey, "survey.objects").cone_search(ra, dec, radius * 3600).compute()
    where = f"1 = CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, {radius}))"
    asked = answer(survey, f"SELECT object_id, ra, dec FROM survey.objects WHERE {where}")
    assert sorted(zip(found["object_id"].tolist(), found["ra"].tolist(), found["dec"].tolist(), strict=True)) == asked
    assert len(asked) > 20


def test_cross_matches_agree(survey: IdacProcess) -> None:
    left, right = catalogue(survey, "survey.objects"), catalogue(survey, "survey.detections")
    pairs = left.crossmatch(
        right, radius_arcsec=1, n_neighbors=100, suffixes=("_o", "_d"), suffix_method="all_columns"
    ).compute()
    asked = answer(
        survey,
        "SELECT o.object_id, d.visit, d.flux FROM survey.objects AS o JOIN survey.detections AS d "
        "ON DISTANCE(POINT(o.ra, o.dec), POINT(d.ra, d.dec)) < 1/3600.0",
    )
    found = zip(pairs["object_id_o"].tolist(), pairs["visit_d"].tolist(), pairs["flux_d"].tolist(), strict=True)
    assert sorted(found) == asked
    assert len(asked) > DEFAULT_MAX_ROWS
