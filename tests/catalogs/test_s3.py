"""The archive in a real S3 service: published, read, replaced and swept as in a folder; and sources from there."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from archive_fixture import TableData, publish, small_settings, star_table
from bucket_fixture import bucket_secrets, bucket_settings
from idac.catalogs.archive import Archive
from idac.catalogs.felis import write_felis
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.service import CatalogService, SourceChoices
from idac.catalogs.snapshot import HatsStorage
from idac.core.database import open_database
from idac.core.store import S3BucketStore, Store, StoreSettings, open_store
from services.rgw import Bucket


@pytest.fixture
def stores(s3_bucket: Bucket) -> dict[str, StoreSettings]:
    return {s3_bucket.name: bucket_settings(s3_bucket)}


@pytest.fixture
def store(s3_bucket: Bucket, stores: dict[str, StoreSettings], tmp_path: Path) -> Store:
    return open_store(f"s3://{s3_bucket.name}/dac", stores, bucket_secrets(tmp_path / "secrets", s3_bucket), tmp_path)


@pytest.fixture
def archive(store: Store, tmp_path: Path) -> Archive:
    settings = small_settings(version_grace_s=0, keep_versions=0, ingest={"spill": tmp_path / "spill"})
    return Archive(store, open_database(f"sqlite:///{tmp_path / 'state.db'}"), settings)


def rows_read(archive: Archive, name: tuple[str, str] = ("demo", "stars")) -> int:
    storage = archive.snapshot(fresh=True).entries[name].storage
    assert isinstance(storage, HatsStorage)
    assert isinstance(archive.store, S3BucketStore)
    prefix = archive.store.url("x")[:-1]
    keys = [f.removeprefix(prefix) for f in storage.index.files]
    return sum(pq.read_metadata(archive.store.open_input(k)).num_rows for k in keys)


def test_an_archive_in_s3_is_published_replaced_dropped_and_swept(archive: Archive, tmp_path: Path) -> None:
    publish(archive, "demo.stars", TableData(star_table(2_000), choices=IngestChoices(id="id")))
    storage = archive.snapshot().entries["demo", "stars"].storage
    assert isinstance(storage, HatsStorage)
    assert storage.index.files[0].startswith("s3://")
    assert rows_read(archive) == 2_000
    publish(archive, "demo.stars", star_table(500), replacing=True)
    assert rows_read(archive) == 500
    archive.sweep()
    kept = {o.key.split("/")[4] for o in archive.store.list("catalogs/tables/demo/stars")}
    assert kept == {archive.manifest().tables["demo.stars"][0].id}
    archive.drop("demo", "stars", write_felis)
    archive.sweep()
    assert [o.key for o in archive.store.list("catalogs")] == ["catalogs/manifest.json"]
    assert [p for p in (tmp_path / "spill").rglob("*") if p.is_file()] == []


def test_sources_and_hats_catalogues_are_taken_from_s3(
    archive: Archive, s3_bucket: Bucket, stores: dict[str, StoreSettings], tmp_path: Path
) -> None:
    secrets = bucket_secrets(tmp_path / "secrets", s3_bucket)
    root = open_store(f"s3://{s3_bucket.name}", stores, secrets, tmp_path)
    for part in range(2):
        pq.write_table(star_table(600).slice(part * 300, 300), tmp_path / "part.parquet")
        root.put_atomic(f"in/part-{part}.parquet", tmp_path / "part.parquet")
    service = CatalogService(archive, lambda location: open_store(location, stores, secrets, tmp_path))
    source = SourceChoices((f"s3://{s3_bucket.name}/in/part-*.parquet",))
    assert service.add("demo.stars", source, IngestChoices()).rows == 600
    published = archive.root_url(archive.manifest().tables["demo.stars"][0]).rpartition("/")[0]
    made = service.add("demo.again", SourceChoices((published,)), IngestChoices())
    assert made.rows == 600
    assert rows_read(archive, ("demo", "again")) == 600
    assert archive.manifest().tables["demo.again"][0].location == published
