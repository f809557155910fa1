"""Uploaded tables: which a request names, and what becomes of their rows and columns."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import Table as AstropyTable
from astropy.time import Time

from idac.catalogs.snapshot import PlainStorage
from idac.core.errors import BadData, BadParameter, Cancelled, TooLarge
from idac.core.store import FolderStore
from idac.query.fetching import UriFetcher
from idac.query.settings import UploadSettings
from idac.query.upload_specs import UploadSpec, parse_uploads
from idac.query.uploads import Uploads
from idac.web.parameters import UploadedFile

SETTINGS = UploadSettings(max_rows=1000)


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(SETTINGS, UriFetcher(SETTINGS), tmp_path / "spool")


def stars() -> AstropyTable:
    table = AstropyTable({"ID": np.arange(5) + 2**60, "ra": np.linspace(0, 4, 5) * u.deg, "name": list("abcde")})
    table["ra"].description = "Right ascension"
    return table


def file(tmp_path: Path, filename: str, content: bytes) -> UploadedFile:
    path = tmp_path / "part-0"
    path.write_bytes(content)
    return UploadedFile("t", filename, None, path, len(content))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["a,param:x"], ["a"]),
        (["a,param:x", "b,http://x.org/t.vot"], ["a", "b"]),
        (["a,param:x;b,param:y;"], ["a", "b"]),
        (["a,http://x.org/q;v=1;b,param:y"], ["a", "b"]),
        ([" a , param:x "], ["a"]),
        ([], []),
    ],
)
def test_uploads_are_named_in_each_way_of_tap(values: list[str], names: list[str]) -> None:
    assert [spec.name for spec in parse_uploads(values, SETTINGS)] == names


def test_a_semicolon_of_an_address_does_not_end_it() -> None:
    (first, second) = parse_uploads(["a,http://x.org/q;v=1;b,param:y"], SETTINGS)
    assert (first.uri, first.inline, second.inline) == ("http://x.org/q;v=1", None, "y")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "a",
            "UPLOAD can't be read. Given: a. Allowed: name,param:field or name,http://host/file. The query then reads "
            "TAP_UPLOAD.name.",
        ),
        (
            "select,param:x",
            "This is no name for an uploaded table. Given: select. Allowed: letters, digits and underscores, beginning "
            "with a letter, and no reserved word of ADQL. The query then reads TAP_UPLOAD.name.",
        ),
        ("../a,param:x", "This is no name for an uploaded table. Given: ../a."),
        ("a,param:x;A,param:y", "Two uploads have the same name. Given: a, A. Allowed: distinct names."),
    ],
)
def test_uploads_that_cannot_be_named_are_refused(value: str, words: str) -> None:
    with pytest.raises(BadParameter) as caught:
        parse_uploads([value], SETTINGS)
    assert str(caught.value).startswith(words)


def test_too_many_uploads_are_refused() -> None:
    with pytest.raises(TooLarge) as caught:
        parse_uploads([f"t{n},param:x" for n in range(17)], SETTINGS)
    assert str(caught.value) == (
        "The query has too many uploads. Given: 17. Allowed: 16 tables (query.uploads.max_tables)."
    )


@pytest.mark.parametrize("form", ["votable", "fits", "parquet", "ascii.csv", "ascii.ecsv"])
def test_a_table_of_any_format_keeps_its_rows_and_columns(uploads: Uploads, tmp_path: Path, form: str) -> None:
    path = tmp_path / "source"
    stars().write(path, format=form, overwrite=True)
    endings = {"votable": "vot", "fits": "fits", "parquet": "parquet", "ascii.csv": "csv", "ascii.ecsv": "ecsv"}
    sent = file(tmp_path, f"stars.{endings[form]}", path.read_bytes())
    folder = uploads.new_folder()
    entry = uploads.stage([UploadSpec("mine", "param:t")], {"t": sent}, folder)["mine"]
    assert (entry.table.schema, entry.table.name) == ("TAP_UPLOAD", "mine")
    assert [column.name for column in entry.table.columns] == ["ID", "ra", "name"]
    if form in ("votable", "fits", "ascii.ecsv"):
        assert entry.table.columns[1].unit == "deg"
    assert isinstance(entry.storage, PlainStorage)
    assert entry.storage.rows == 5
    rows = pq.read_table(entry.storage.files[0])
    assert rows.column("ID").to_pylist() == [2**60 + n for n in range(5)]
    assert rows.column("ra").to_pylist() == [0, 1, 2, 3, 4]
    assert rows.column("name").to_pylist() == list("abcde")
    assert [p.name for p in folder.iterdir()] == ["mine.parquet"]


def test_a_file_that_the_form_does_not_carry_is_named(uploads: Uploads, tmp_path: Path) -> None:
    sent = file(tmp_path, "a.csv", b"ra\n1\n")
    with pytest.raises(BadParameter) as caught:
        uploads.stage([UploadSpec("mine", "param:other")], {"t": sent}, uploads.new_folder())
    assert str(caught.value) == (
        "UPLOAD names a file that the request does not carry. Given: param:other. Allowed: param:t. Send the table as "
        "a file of a multipart/form-data request under that name."
    )


def test_a_file_that_is_missing_is_told_before_another_is_read(uploads: Uploads, tmp_path: Path) -> None:
    sent = file(tmp_path, "a.csv", b"ra\n1\n")
    specs = [UploadSpec("first", "param:t"), UploadSpec("second", "param:other")]
    folder = uploads.new_folder()
    with pytest.raises(BadParameter, match="UPLOAD names a file that the request does not carry"):
        uploads.stage(specs, {"t": sent}, folder)
    assert list(folder.iterdir()) == []
    assert sent.path.exists()


def test_names_that_differ_in_case_alone_are_refused(uploads: Uploads, tmp_path: Path) -> None:
    sent = file(tmp_path, "a.csv", b"ra,RA\n1,2\n")
    with pytest.raises(BadData) as caught:
        uploads.stage([UploadSpec("mine", "param:t")], {"t": sent}, uploads.new_folder())
    assert str(caught.value) == (
        "Columns of the upload have names that differ only in case. Given: ra, RA. Allowed: names that are distinct "
        "when case does not count, as in ADQL. Rename the columns and upload again."
    )


def test_a_table_over_the_row_limit_is_refused_and_leaves_nothing(uploads: Uploads, tmp_path: Path) -> None:
    sent = file(tmp_path, "a.csv", b"x\n" + b"1\n" * 1001)
    folder = uploads.new_folder()
    with pytest.raises(TooLarge, match="The table has too many rows"):
        uploads.stage([UploadSpec("mine", "param:t")], {"t": sent}, folder)
    assert [p.name for p in folder.iterdir() if p.suffix == ".csv"] == []


def test_an_error_names_the_table_as_queries_do(uploads: Uploads, tmp_path: Path) -> None:
    sent = file(tmp_path, "a.csv", b"")
    with pytest.raises(BadData) as caught:
        uploads.stage([UploadSpec("mine", "param:t")], {"t": sent}, uploads.new_folder())
    assert "TAP_UPLOAD.mine.csv" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", b"SIMPLE  =                    T", b"<VOTABLE><RESOURCE>"])
def test_what_is_no_table_is_refused_without_our_paths(uploads: Uploads, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadData) as caught:
        uploads.stage([UploadSpec("mine", "param:t")], {"t": file(tmp_path, "a", content)}, uploads.new_folder())
    assert str(tmp_path) not in str(caught.value)


def test_a_stopped_query_stops_reading(uploads: Uploads, tmp_path: Path) -> None:
    sent = file(tmp_path, "a.csv", b"x\n1\n")
    with pytest.raises(Cancelled):
        uploads.stage([UploadSpec("mine", "param:t")], {"t": sent}, uploads.new_folder(), lambda: True)


def test_a_jobs_upload_can_be_read_on_any_machine(uploads: Uploads, tmp_path: Path) -> None:
    buffer = BytesIO()
    table = stars()
    table["when"] = Time(["2026-11-23T20:00:00"] * 5, format="isot").isot
    table.write(buffer, format="votable")
    store = FolderStore(tmp_path / "results")
    sent = file(tmp_path, "a.vot", buffer.getvalue())
    stored = uploads.put(UploadSpec("mine", "param:t"), {"t": sent}, "jobs/a/uploads/mine.parquet", store)
    assert [item.key for item in store.list("jobs")] == ["jobs/a/uploads/mine.parquet"]

    class Remote(FolderStore):
        def local_path(self, key: str) -> Path | None:
            return None

    for there in (store, Remote(store.root)):
        entry = uploads.take(stored, there, uploads.new_folder())
        assert isinstance(entry.storage, PlainStorage)
        assert pq.read_table(entry.storage.files[0]).num_rows == 5
        assert entry.table.columns[1].description == "Right ascension"


def test_an_upload_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    settings = UploadSettings(max_uri_bytes=16 * 2**20)
    uploads = Uploads(settings, UriFetcher(settings), tmp_path / "spool")
    zeros = pa.array(np.zeros(60_000))
    sink = BytesIO()
    pq.write_table(pa.table({f"c{i}": zeros for i in range(300)}), sink, compression="zstd")
    assert len(sink.getvalue()) < 2**20
    sent = {"t": file(tmp_path, "t.parquet", sink.getvalue())}
    with pytest.raises(TooLarge) as caught:
        uploads.stage(parse_uploads(["mine,param:t"], settings), sent, uploads.new_folder())
    assert caught.value.text == (
        "The upload unpacks to more than an upload may hold. Given: more than 67108864 bytes. "
        "Allowed: four times query.uploads.max_uri_bytes. Leave out columns or rows that the query does not need."
    )


def test_a_text_that_a_dictionary_repeats_counts_as_often_as_it_is_meant(tmp_path: Path) -> None:
    settings = UploadSettings(max_uri_bytes=16 * 2**20)
    uploads = Uploads(settings, UriFetcher(settings), tmp_path / "spool")
    sink = BytesIO()
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), pa.array(["x" * 2_000_000]))
    pq.write_table(pa.table({"s": word}), sink, compression="zstd", store_schema=False)
    assert len(sink.getvalue()) < 1000
    sent = {"t": file(tmp_path, "t.parquet", sink.getvalue())}
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(TooLarge, match="The upload unpacks to more than an upload may hold"):
            uploads.stage(parse_uploads(["mine,param:t"], settings), sent, uploads.new_folder())
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 512 * 2**20
