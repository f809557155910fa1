"""LSDB opens a published collection as it stands, and answers what astropy answers over the same rows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import astropy.units as u
import dask
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord

from archive_fixture import TableData, build_archive, star_table
from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # LSDB's dependencies warn of each other while they are imported
    import lsdb
    from hats.io.validation import is_valid_collection

CHOICES = IngestChoices(id="id")


def paired(stars: pa.Table) -> pa.Table:
    """A second catalogue: each star moved by up to 8 arcsec, so that many pairs straddle an edge of some pixel."""
    rng = np.random.default_rng(9)
    here = SkyCoord(stars["ra"].to_numpy(), stars["dec"].to_numpy(), unit="deg")
    there = here.directional_offset_by(rng.uniform(0, 360, len(here)) * u.deg, rng.uniform(0, 8, len(here)) * u.arcsec)
    return pa.table({"id": stars["id"], "ra": there.ra.deg, "dec": there.dec.deg})


@pytest.fixture(scope="module")
def stars() -> pa.Table:
    return star_table(12_000, crowded_deg=0.3)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, stars: pa.Table) -> Archive:
    tables = {"demo.stars": TableData(stars, choices=CHOICES), "demo.pairs": TableData(paired(stars), choices=CHOICES)}
    return build_archive(tmp_path_factory.mktemp("archive"), tables)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def collection(archive: Archive, table: str) -> Path:
    return Path(archive.root_url(archive.manifest().tables[table][0])).parent


def coordinates(table: pa.Table) -> SkyCoord:
    return SkyCoord(table["ra"].to_numpy(), table["dec"].to_numpy(), unit="deg")


def test_the_collection_passes_the_strict_validation_of_hats(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert is_valid_collection(collection(archive, "demo.stars"), strict=True)
    assert {r.message for r in caplog.records} <= {"_metadata file does not exist."}  # optional, and large


@pytest.mark.parametrize(
    ("ra", "dec", "radius"), [(0.0, 0.0, 0.2), (359.95, 0.1, 0.1), (123.0, 89.9, 0.3), (200.0, 40.0, 15.0)]
)
def test_a_cone_in_lsdb_holds_what_astropy_finds(
    archive: Archive, stars: pa.Table, ra: float, dec: float, radius: float
) -> None:
    found = lsdb.open_catalog(collection(archive, "demo.stars")).cone_search(ra, dec, radius * 3600).compute()
    inside = coordinates(stars).separation(SkyCoord(ra, dec, unit="deg")).deg <= radius
    expected = np.sort(stars["id"].to_numpy()[inside])
    assert len(expected) > 20
    assert np.array_equal(np.sort(found["id"].to_numpy()), expected)


def test_a_crossmatch_in_lsdb_finds_the_pairs_over_pixel_edges_too(archive: Archive, stars: pa.Table) -> None:
    left = lsdb.open_catalog(collection(archive, "demo.stars"))
    right = lsdb.open_catalog(collection(archive, "demo.pairs"))
    matched = left.crossmatch(
        right, radius_arcsec=9, n_neighbors=50, suffixes=("_a", "_b"), suffix_method="all_columns"
    ).compute()
    found = set(zip(matched["id_a"].tolist(), matched["id_b"].tolist(), strict=True))
    ids = stars["id"].to_numpy()
    a, b, _, _ = coordinates(paired(stars)).search_around_sky(coordinates(stars), 9 * u.arcsec)
    assert found == set(zip(ids[a].tolist(), ids[b].tolist(), strict=True))
    pixels = right.get_healpix_pixels()
    assert len(pixels) > 20
    assert len(found) >= len(stars)


def test_id_search_in_lsdb_reads_one_partition_and_finds_the_row(archive: Archive, stars: pa.Table) -> None:
    catalog = lsdb.open_catalog(collection(archive, "demo.stars"))
    wanted = stars["id"].to_pylist()[4_321]
    found = catalog.id_search(values={"id": wanted})
    assert len(found.get_healpix_pixels()) == 1
    row = found.compute()
    assert row["id"].tolist() == [wanted]
    assert row["ra"].tolist() == [stars["ra"].to_pylist()[4_321]]


def test_every_value_comes_through_unchanged(archive: Archive, stars: pa.Table) -> None:
    frame = lsdb.open_catalog(collection(archive, "demo.stars")).compute()
    found = pa.Table.from_pandas(frame, preserve_index=False).select(stars.column_names).sort_by("id")
    assert found.cast(stars.schema).equals(stars.sort_by("id"))


def test_a_table_inside_one_pixel_has_an_empty_margin_and_matches_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    few = pa.table({"id": np.arange(50), "ra": rng.uniform(44, 46, 50), "dec": rng.uniform(29, 31, 50)})
    archive = build_archive(tmp_path, {"demo.few": few})
    catalog = lsdb.open_catalog(collection(archive, "demo.few"))
    matched = catalog.crossmatch(catalog, radius_arcsec=1, suffixes=("_a", "_b"), suffix_method="all_columns").compute()
    assert sorted(matched["id_a"].tolist()) == list(range(50))
