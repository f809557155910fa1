"""From files to published tables: every format, several files, whole schemas, edited words, HATS in place."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.table import Table as AstropyTable

from archive_fixture import build_archive, open_archive, star_table
from idac.catalogs.archive import Archive
from idac.catalogs.audit import check_table
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.publishing import silent
from idac.catalogs.service import CatalogService, SourceChoices
from idac.catalogs.snapshot import HatsStorage, PlainStorage
from idac.core.errors import BadData, BadParameter, Conflict, NotFound, UserError
from idac.core.store import FolderStore
from idac.tables.readers import csv as csv_reader

NOTHING = IngestChoices()


def service(folder: Path) -> CatalogService:
    return CatalogService(open_archive(folder), lambda location: FolderStore(Path(location)))


def sources(*paths: Path | str, **more: object) -> SourceChoices:
    return SourceChoices(tuple(str(p) for p in paths), **more)  # type: ignore[arg-type]


def refusal(action: Callable[[], object], kind: type[UserError] = BadData) -> str:
    with pytest.raises(kind) as caught:
        action()
    return caught.value.text


def rows_of(archive: Archive, schema: str, table: str) -> pa.Table:
    entry = archive.snapshot(fresh=True).find(schema, table)
    assert entry is not None
    storage = entry.storage
    assert isinstance(storage, HatsStorage | PlainStorage)
    files = storage.index.files if isinstance(storage, HatsStorage) else storage.files
    return pa.concat_tables(pq.read_table(f, partitioning=None) for f in files)


def write_stars(folder: Path, name: str, stars: AstropyTable) -> Path:
    path = folder / name
    if name.endswith(".fits.gz"):
        stars.write(folder / "plain.fits", overwrite=True)
        path.write_bytes(gzip.compress((folder / "plain.fits").read_bytes()))
    elif name.endswith(".tsv"):
        stars.write(path, format="ascii.tab")
    elif name.endswith(".arrow"):
        table = pa.table({n: np.asarray(stars[n]) for n in stars.colnames})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    elif name.endswith(".parquet"):
        pq.write_table(pa.table({n: np.asarray(stars[n]) for n in stars.colnames}), path)
    elif name.endswith(".vot"):
        stars.write(path, format="votable")
    else:
        stars.write(path)
    return path


NAMES = ["s.fits", "s.fits.gz", "s.vot", "s.csv", "s.tsv", "s.ecsv", "s.parquet", "s.arrow"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(5)
    stars = AstropyTable(
        {
            "RA": rng.uniform(0, 360, 900),
            "DEC": rng.uniform(-90, 90, 900),
            "ID": np.arange(900),
            "MAG": rng.normal(size=900),
        }
    )
    stars["RA"].unit = stars["DEC"].unit = "deg"
    stars["MAG"].unit = "mag"
    stars["MAG"].description = "Brightness"
    made = service(tmp_path).add(
        "demo.stars", sources(write_stars(tmp_path, name, stars)), IngestChoices(id="ID"), replacing=False
    )
    assert (made.rows, made.table.ra_column, made.table.dec_column) == (900, "RA", "DEC")
    found = rows_of(open_archive(tmp_path), "demo", "stars").sort_by("ID")
    for column in stars.colnames:
        assert np.array_equal(found[column].to_numpy(), np.asarray(stars[column]))
    mag = made.table.find("MAG")
    assert mag is not None
    tells = {"s.fits": ("mag", None), "s.vot": ("mag", "Brightness"), "s.ecsv": ("mag", "Brightness")}
    assert (mag.unit, mag.description) == tells.get(name.removesuffix(".gz"), (None, None))
    assert made.table.columns[0].ucd == "pos.eq.ra;meta.main"


def test_a_pattern_takes_all_its_files_as_one_table(tmp_path: Path) -> None:
    stars = star_table(900)
    for part in range(3):
        pyarrow.csv.write_csv(stars.slice(part * 300, 300), tmp_path / f"part-{part}.csv")
    made = service(tmp_path).add("demo.stars", sources(tmp_path / "part-*.csv"), IngestChoices(id="id"))
    assert made.rows == 900
    assert open_archive(tmp_path).manifest().tables["demo.stars"][0].source == "part-0.csv and 2 more"


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "stars").mkdir()
    for part in range(3):
        pq.write_table(star_table(900).slice(part * 300, 300), tmp_path / "stars" / f"{part}.parquet")
    assert service(tmp_path).add("demo.stars", sources(tmp_path / "stars"), NOTHING).rows == 900


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(star_table(9), tmp_path / "part-0.csv")
    pyarrow.csv.write_csv(
        star_table(9).rename_columns(["id", "ra", "dec", "magnitude", "name", "flag"]), tmp_path / "part-1.csv"
    )
    assert refusal(lambda: service(tmp_path).add("demo.stars", sources(tmp_path / "part-*.csv"), NOTHING)) == (
        "The file part-1.csv has other columns than part-0.csv. Given: no mag, also magnitude. "
        "Allowed: the same columns in every file of a table. "
        "Add the files as separate tables, or make their columns alike."
    )


def test_a_truncated_or_empty_source_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    stars = AstropyTable({"ra": np.arange(5_000.0) % 360, "dec": np.zeros(5_000)})
    path = write_stars(tmp_path, "s.fits", stars)
    path.write_bytes(path.read_bytes()[:40_000])
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "header.csv").write_text("ra,dec\n")
    for name in ("s.fits", "empty.csv", "header.csv"):
        refusal(lambda name=name: service(tmp_path).add("demo.stars", sources(tmp_path / name), NOTHING))
    assert open_archive(tmp_path).manifest().tables == {}
    assert not (tmp_path / "archive" / "catalogs" / "tables").exists()


def test_a_file_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "gaia.csv").write_text("ra,dec\n1,2\n")
    path = tmp_path / "gala.csv"
    assert refusal(lambda: service(tmp_path).add("demo.stars", sources(path), NOTHING), NotFound) == (
        f"There is no such file. Given: {path}. Allowed: a file, a folder, a pattern such as 'part-*.csv', "
        "or an s3:// address. Did you mean gaia.csv?"
    )


@pytest.mark.parametrize("name", ["stars", "TAP_SCHEMA.stars", ".stars", "demo.", "demo.a/b", "a.b.c", 'demo."a"'])
def test_names_that_can_not_be_published_are_refused(tmp_path: Path, name: str) -> None:
    assert refusal(lambda: service(tmp_path).add(name, sources("x.csv"), NOTHING), BadParameter) == (
        f"This can't be the name of a published table. Given: {name}. "
        "Allowed: schema.table with one dot and no / or quotes; the schema is not TAP_SCHEMA or TAP_UPLOAD. "
        "Name the table with --name, for example --name tycho2.main."
    )


FELIS = """\
name: survey
description: A survey
tables:
- name: Object
  description: Things on the sky
  primaryKey: "#Object.objectId"
  columns:
  - {name: objectId, datatype: long, description: Number, ivoa:ucd: meta.id;meta.main}
  - {name: ra, datatype: double, description: RA, ivoa:unit: deg, ivoa:ucd: pos.eq.ra;meta.main}
  - {name: dec, datatype: double, description: Dec, ivoa:unit: deg, ivoa:ucd: pos.eq.dec;meta.main}
- name: Visit
  description: Exposures
  columns:
  - {name: visit, datatype: long, description: Number, ivoa:ucd: meta.id}
  - {name: objectId, datatype: long, description: Target, ivoa:ucd: meta.id}
  constraints:
  - name: fk_visit_object
    "@type": ForeignKey
    columns: ["#Visit.objectId"]
    referencedColumns: ["#Object.objectId"]
"""


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    folder = tmp_path / "survey"
    folder.mkdir()
    (folder / "survey.yaml").write_text(FELIS)
    objects = pa.table({"objectId": [1, 2, 3], "ra": [1.0, 2.0, 3.0], "dec": [0.0, 5.0, -5.0]})
    pq.write_table(objects, folder / "Object.parquet")
    pyarrow.csv.write_csv(pa.table({"visit": [10, 11], "objectId": [1, 3]}), folder / "visit.csv")
    return folder


def whole(folder: Path, survey: Path, **more: object) -> object:
    felis = survey / "survey.yaml"
    return service(folder).add_schema(sources(survey, felis=felis), NOTHING, **more)  # type: ignore[arg-type]


def test_a_whole_schema_is_published_in_one_step(tmp_path: Path, survey: Path) -> None:
    whole(tmp_path, survey)
    snapshot = open_archive(tmp_path).snapshot()
    assert snapshot.generation.startswith("1-")
    schema = snapshot.schemas[0]
    assert (schema.name, schema.description, [t.name for t in schema]) == ("survey", "A survey", ["Object", "Visit"])
    objects, visits = schema.tables
    assert (objects.ra_column, objects.id_column, objects.description) == ("ra", "objectId", "Things on the sky")
    assert visits.ra_column is None
    keys = snapshot.entries["tap_schema", "keys"].storage.data.to_pylist()  # type: ignore[union-attr]
    assert {"survey.fk_visit_object"} < {k["key_id"] for k in keys}
    assert next(k for k in keys if k["key_id"] == "survey.fk_visit_object")["target_table"] == "survey.Object"


def test_one_bad_file_keeps_the_whole_schema_out(tmp_path: Path, survey: Path) -> None:
    (survey / "visit.csv").write_text("visit,objectId\n10,1\n11\n")
    refusal(lambda: whole(tmp_path, survey))
    assert open_archive(tmp_path).manifest().tables == {}
    assert not (tmp_path / "archive" / "catalogs" / "tables").exists()


def test_a_table_without_a_file_is_refused_unless_a_part_is_asked_for(tmp_path: Path, survey: Path) -> None:
    (survey / "visit.csv").unlink()
    assert refusal(lambda: whole(tmp_path, survey)) == (
        "Tables of survey have no file. Given: Visit. Allowed: a file named after each table, such as Object.parquet. "
        "Add the files, or add --partial to publish only the tables that have one."
    )
    whole(tmp_path, survey, partial=True)
    assert [t.name for t in open_archive(tmp_path).snapshot().schemas[0]] == ["Object"]


def test_a_file_that_no_table_is_named_after_is_refused(tmp_path: Path, survey: Path) -> None:
    (survey / "visit.csv").rename(survey / "visits.csv")
    assert refusal(lambda: whole(tmp_path, survey)) == (
        "Files were found that no table of survey is named after. Given: visits.csv. Allowed: Object, Visit. "
        "Rename the file; did you mean Visit?"
    )


def test_a_schema_with_columns_that_the_data_lack_is_refused(tmp_path: Path, survey: Path) -> None:
    pyarrow.csv.write_csv(pa.table({"visit": [10, 11], "objectID2": [1, 3]}), survey / "visit.csv")
    assert refusal(lambda: whole(tmp_path, survey)) == (
        "The Felis schema describes columns of Visit that its data lack. Given: objectId. "
        "Allowed: columns of the data. Did you mean objectID2? Correct the schema, or the names in the source."
    )


def test_a_schema_that_calls_text_a_number_is_refused(tmp_path: Path, survey: Path) -> None:
    (survey / "visit.csv").write_text("visit,objectId\n10,a\n11,b\n")
    assert refusal(lambda: whole(tmp_path, survey)) == (
        "The Felis schema and the data of Visit disagree about the kind of values. "
        "Given: objectId (data: text, schema: number). Allowed: the data's own kinds. "
        "Correct the datatype in the schema, or convert the column in the source."
    )


def test_edited_metadata_are_published_and_a_running_service_sees_them(tmp_path: Path, survey: Path) -> None:
    whole(tmp_path, survey)
    running = open_archive(tmp_path)
    before = running.snapshot()
    publisher = service(tmp_path)
    document = yaml.safe_load(publisher.metadata_text("survey"))
    document["tables"][0]["columns"][1] |= {"description": "Where it is", "tap:principal": 1}
    del document["tables"][0]["columns"][2]["description"]
    gaps = publisher.edit_metadata("survey", yaml.safe_dump(document))
    assert [str(g) for g in gaps] == ["dec: no description"]
    after = running.snapshot().entries["survey", "object"]
    assert (after.table.columns[1].description, after.table.columns[1].principal) == ("Where it is", True)
    assert after.table.columns[2].description is None
    assert after.storage is before.entries["survey", "object"].storage


def edited(folder: Path, change: Callable[[dict[str, list[dict[str, object]]]], object]) -> str:
    publisher = service(folder)
    document = yaml.safe_load(publisher.metadata_text("survey"))
    change(document)
    return refusal(lambda: publisher.edit_metadata("survey", yaml.safe_dump(document)))


def test_an_edit_that_does_not_fit_the_data_is_refused(tmp_path: Path, survey: Path) -> None:
    whole(tmp_path, survey)
    assert edited(tmp_path, lambda d: d["tables"].pop()) == (
        "The edited metadata leave out a published table. Given: Visit. Allowed: Object, Visit. "
        "Put it back, or take the table down with idac catalog drop survey.Visit."
    )
    assert edited(tmp_path, lambda d: d["tables"][0]["columns"].pop()).startswith(  # type: ignore[attr-defined]
        "The edited metadata leave out columns of Object. Given: dec."
    )
    assert edited(tmp_path, lambda d: d["tables"][0]["columns"][1].update(name="rra")).startswith(  # type: ignore[attr-defined]
        "The Felis schema describes columns of Object that its data lack. Given: rra."
    )
    assert edited(tmp_path, lambda d: d.update(name="other")) == (  # type: ignore[arg-type]
        "The name of a schema can't be changed by editing its metadata. Given: other. Allowed: survey. "
        "Keep the name, or publish the tables again under the new one."
    )


def test_an_edit_that_began_before_another_one_is_refused(tmp_path: Path, survey: Path) -> None:
    whole(tmp_path, survey)
    publisher = service(tmp_path)
    text = publisher.metadata_text("survey")
    publisher.edit_metadata("survey", text.replace("Exposures", "Visits"), before=text)
    late = text.replace("Exposures", "Pointings")
    assert refusal(lambda: publisher.edit_metadata("survey", late, before=text), Conflict) == (
        "The metadata of survey changed while you were editing them. "
        "Look at the new metadata and apply your changes again."
    )


def test_a_replacement_without_felis_keeps_the_published_words(tmp_path: Path, survey: Path) -> None:
    whole(tmp_path, survey)
    pq.write_table(pa.table({"objectId": [9], "ra": [9.0], "dec": [9.0]}), tmp_path / "new.parquet")
    service(tmp_path).add("survey.Object", sources(tmp_path / "new.parquet"), NOTHING, replacing=True)
    entry = open_archive(tmp_path).snapshot().entries["survey", "object"]
    assert entry.storage.rows == 1
    assert (entry.table.description, entry.table.columns[0].description) == ("Things on the sky", "Number")


# -- HATS where it is --


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A HATS collection somewhere else, without any of the archive's own sidecars."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    archive = build_archive(elsewhere, {"x.stars": star_table(3_000)})
    folder = tmp_path / "stars"
    shutil.move(archive.store.url(archive.manifest().tables["x.stars"][0].prefix), folder)
    for name in ("rowgroups.parquet", "files.parquet"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize("inner", ["", "stars"], ids=["collection", "catalogue alone"])
def test_a_hats_catalogue_is_registered_where_it_is(tmp_path: Path, collection: Path, inner: str) -> None:
    made = service(tmp_path).add("demo.stars", sources(collection / inner), NOTHING)
    assert (made.rows, made.table.ra_column) == (3_000, "ra")
    archive = open_archive(tmp_path)
    storage = archive.snapshot().entries["demo", "stars"].storage
    assert isinstance(storage, HatsStorage)
    assert all(Path(f).is_relative_to(collection) for f in storage.index.files)
    assert storage.index.total_rows == 3_000
    for file, group, low, high in zip(
        storage.index.file, storage.index.row_group, storage.index.hpx_min, storage.index.hpx_max, strict=True
    ):
        keys = pq.ParquetFile(storage.index.files[file]).read_row_group(group, ["_healpix_29"]).column(0).to_numpy()
        assert (keys.min(), keys.max()) == (low, high)
    assert (storage.margin_arcsec, len(storage.margin_files) > 0) == ((10.0, True) if not inner else (None, False))
    assert not list((tmp_path / "archive").rglob("Npix=*"))
    dropped = service(tmp_path).drop("demo.stars")
    assert dropped.rows == 3_000
    assert (collection / "stars" / "hats.properties").exists()


def test_a_hats_catalogue_is_copied_on_request(tmp_path: Path, collection: Path) -> None:
    made = service(tmp_path).add("demo.stars", sources(collection, copy=True), IngestChoices(id="id"))
    assert (made.rows, made.table.id_column, made.table.columns[1].ucd) == (3_000, "id", "pos.eq.ra;meta.main")
    shutil.rmtree(collection)
    found = rows_of(open_archive(tmp_path), "demo", "stars").sort_by("id")
    assert found["ra"].to_pylist() == star_table(3_000).sort_by("id")["ra"].to_pylist()


def test_a_hats_catalogue_with_a_missing_file_is_refused(tmp_path: Path, collection: Path) -> None:
    gone = next((collection / "stars").rglob("Npix=*.parquet"))
    gone.unlink()
    assert refusal(lambda: service(tmp_path).add("demo.stars", sources(collection), NOTHING)) == (
        "This HATS catalogue can't be registered: a file of its partition list is missing. "
        f"Given: {gone.relative_to(collection / 'stars').as_posix()}. Restore the file."
    )


# -- checking --


def problems(folder: Path, name: str = "demo.stars", *, checksums: bool = True) -> list[str]:
    publisher = service(folder)
    entry, version = publisher.find(name)
    found = check_table(
        publisher.archive, entry, version, open_store=publisher.open_store, progress=silent, checksums=checksums
    )
    return [f.problem for f in found]


def test_a_table_as_published_has_no_findings(tmp_path: Path) -> None:
    build_archive(tmp_path, {"demo.stars": star_table(2_000), "demo.notes": pa.table({"n": [1, 2]})})
    assert problems(tmp_path) == []
    assert problems(tmp_path, "demo.notes") == []


def test_every_kind_of_damage_is_found(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(4_000)})
    storage = archive.snapshot().entries["demo", "stars"].storage
    assert isinstance(storage, HatsStorage)
    files = [Path(f) for f in storage.index.files]
    flipped = bytearray(files[0].read_bytes())
    flipped[1_000] ^= 1
    files[0].write_bytes(flipped)
    files[1].write_bytes(files[1].read_bytes()[:-100])
    files[2].unlink()
    shutil.copy(files[4], files[3])
    found = problems(tmp_path)
    assert found[0] == "its content has changed since it was written (checksum)"
    assert "bytes long, written were" in found[1]
    assert found[2] == "missing"
    assert "bytes long, written were" in found[3] or "checksum" in found[3]
    assert len(found) == 4


def test_a_registered_catalogue_that_changed_in_place_is_found(tmp_path: Path, collection: Path) -> None:
    service(tmp_path).add("demo.stars", sources(collection), NOTHING)
    assert problems(tmp_path) == []
    path = min((collection / "stars").rglob("Npix=*.parquet"))
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(0, table.num_rows - 1), path)
    assert any("bytes long, written were" in p for p in problems(tmp_path))


@pytest.fixture
def small_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of a text file, which tells its types, is a few rows instead of megabytes."""
    monkeypatch.setattr(csv_reader, "_block_bytes", lambda columns: 256)
    monkeypatch.setattr(csv_reader, "_HEAD_BYTES", 512)


def late_stars(folder: Path) -> Path:
    """Stars whose last ones have names and magnitudes of another type than all before."""
    lines = [f"{n},{n % 360},{n % 90},{n},{n + 1000}" for n in range(500)]
    path = folder / "stars.csv"
    path.write_text("\n".join(["id,ra,dec,mag,name", *lines, "500,10.5,-2.25,11.5,Z1"]) + "\n")
    return path


@pytest.mark.usefixtures("small_heads")
def test_a_csv_file_whose_last_rows_need_other_types_is_published_with_those(tmp_path: Path) -> None:
    made = service(tmp_path)
    done = made.add("demo.stars", sources(late_stars(tmp_path)), IngestChoices(id="id"))
    assert done.rows == 501
    found = rows_of(made.archive, "demo", "stars").sort_by("id")
    assert found["mag"].to_pylist() == [*map(float, range(500)), 11.5]
    assert found["ra"].to_pylist()[-1] == 10.5
    assert found["name"].to_pylist() == [*(str(n + 1000) for n in range(500)), "Z1"]
    assert list(Path(made.archive.store.url("catalogs/staging")).iterdir()) == []


@pytest.mark.usefixtures("small_heads")
def test_a_description_is_held_against_the_types_of_all_rows_and_not_those_of_the_head(tmp_path: Path) -> None:
    types = {"id": "long", "ra": "double", "dec": "double", "mag": "double", "name": "char"}
    columns = [
        {"name": n, "@id": f"#stars.{n}", "datatype": t, **({"length": 8} if t == "char" else {})}
        for n, t in types.items()
    ]
    schema = {"name": "demo", "@id": "#demo", "tables": [{"name": "stars", "@id": "#stars", "columns": columns}]}
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(schema))
    made = service(tmp_path)
    (done,) = made.add_schema(sources(late_stars(tmp_path), felis=tmp_path / "demo.yaml"), NOTHING)
    assert done.rows == 501
    assert made.find("demo.stars")[0].table.columns[4].type.is_string


@pytest.mark.usefixtures("small_heads")
def test_a_wrong_row_far_down_a_csv_file_is_told_by_its_number(tmp_path: Path) -> None:
    path = late_stars(tmp_path)
    with path.open("a") as file:
        file.write("501,1,2\n")
    text = refusal(lambda: service(tmp_path).add("demo.stars", sources(path), NOTHING))
    assert text.startswith(
        "stars.csv: Row 502: the number of fields is not the number of columns. Given: 3 fields: 501,1,2."
    )
