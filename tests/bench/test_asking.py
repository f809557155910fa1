"""How the benchmark asks: questions, turns, counting rows, and answers that are refused."""

from __future__ import annotations

import argparse
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable import from_table
from astropy.table import Table
from bench.peers.client import TapClient, count_rows, first_number
from bench.peers.dachs import _completed, _descriptor
from bench.peers.data import ID_ORDER, make_data
from bench.peers.measure import Measurement
from bench.peers.processes import BenchError, free_port
from bench.peers.queries import Query, Row, table_rows
from bench.peers.sizes import FULL, QUICK, Sizes, add_size_options, chosen_sizes
from cdshealpix.nested import lonlat_to_healpix
from defusedxml import ElementTree

SMALL = Sizes(rows=4000, match_rows=500, export_rows=300, pyvo_rows=10, rounds=2, small_repeats=3)


# -- counting rows ---------------------------------------------------------------------------------------------------


def written(rows: int, form: str) -> bytes:
    rng = np.random.default_rng(3)
    found = Table({"id": np.arange(rows), "x": rng.random(rows), "y": rng.random(rows).astype("f4")})
    found["n"] = np.arange(rows).astype("i2")
    out = io.BytesIO()
    if form in ("binary2", "tabledata"):
        from_table(found).to_xml(out, tabledata_format=form)
    elif form in ("csv", "fits"):
        text: io.IOBase = io.StringIO() if form == "csv" else out
        found.write(text, format="ascii.csv" if form == "csv" else "fits")
        return text.getvalue().encode() if isinstance(text, io.StringIO) else out.getvalue()
    else:
        arrow = pa.table({name: np.asarray(found[name]) for name in found.colnames})
        if form == "parquet":
            pq.write_table(arrow, out)
        else:
            with pa.ipc.new_stream(out, arrow.schema) as stream:
                stream.write_table(arrow, max_chunksize=100)
    return out.getvalue()


@pytest.mark.parametrize("form", ["binary2", "tabledata", "csv", "fits", "parquet", "arrow"])
@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
def test_rows_of_answers_that_others_wrote_are_counted(form: str, rows: int) -> None:
    assert count_rows(written(rows, form), form) == rows


def test_a_stream_cut_short_is_not_counted_as_rows() -> None:
    body = written(10, "binary2")
    start = body.index(b">", body.index(b"<STREAM")) + 1
    with pytest.raises(BenchError, match=r"^A BINARY2 stream of \d+ bytes does not divide into rows of 23\.$"):
        count_rows(body[: start + 17] + body[body.index(b"</STREAM") :], "binary2")


def test_the_number_of_an_answer_is_the_first_of_its_first_row() -> None:
    assert first_number(b"n,mean\r\n748874,1.5\r\n") == 748874


# -- questions -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows_and_survey(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Table]:
    files = make_data(tmp_path_factory.mktemp("data"), SMALL)
    return table_rows(SMALL, files), Table.read(files.survey_csv, format="ascii.csv")


def test_the_table_has_every_row_that_the_project_set_itself(rows_and_survey: tuple[list[Row], Table]) -> None:
    rows, _ = rows_and_survey
    assert {row.key: row.bar for row in rows if row.bar} == {
        "top1": 5,
        "cone_deep": 12,
        "cone_wide": 12,
        "cone_degree": 15,
        "polygon_deep": 8,
        "polygon_wide": 8,
        "id": 4,
        "random_id": 4,
        "aggregate": 15,
        "histogram": 20,
        "crossmatch": 9,
        "export_binary2": 40,
        "export_tabledata": 12,
        "export_csv": 12,
        "export_fits": 30,
    }


def test_no_small_query_is_asked_twice_in_a_run(rows_and_survey: tuple[list[Row], Table]) -> None:
    for row in rows_and_survey[0]:
        if row.small and row.key != "top1":
            assert len({query.adql for query in row.queries}) == SMALL.small_repeats * (SMALL.rounds + 1)


def test_looked_up_ids_are_in_the_survey(rows_and_survey: tuple[list[Row], Table]) -> None:
    rows, survey = rows_and_survey
    for key, column in (("id", "object_id"), ("random_id", "source_id")):
        (row,) = (r for r in rows if r.key == key)
        values = {int(query.adql.rsplit("=", 1)[1]) for query in row.queries}
        assert values <= set(survey[column].tolist())


def test_object_ids_are_unique_and_begin_with_the_cell_of_the_position(
    rows_and_survey: tuple[list[Row], Table],
) -> None:
    _, survey = rows_and_survey
    ids = np.asarray(survey["object_id"])
    assert len(np.unique(ids)) == len(ids) == SMALL.rows
    where = SkyCoord(survey["ra"], survey["dec"], unit="deg")
    assert np.array_equal(ids >> 35, lonlat_to_healpix(where.ra, where.dec, ID_ORDER))


def test_seven_in_ten_positions_of_the_match_table_are_near_a_row(tmp_path: Path) -> None:
    files = make_data(tmp_path, SMALL)
    survey, match = Table.read(files.survey_csv, format="ascii.csv"), Table.read(files.match_csv, format="ascii.csv")
    here, there = (SkyCoord(t["ra"], t["dec"], unit="deg") for t in (match, survey))
    _, apart, _ = here.match_to_catalog_sky(there)
    # Two axes scattered by 0.3 arcsec keep 1 - exp(-1/(2·0.09)) = 99.6 % of pairs within 1 arcsec.
    assert np.count_nonzero(apart < 1 * u.arcsec) == pytest.approx(0.7 * 0.996 * len(match), abs=6)


def test_csv_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    files = make_data(tmp_path, SMALL)
    text = Table.read(files.survey_csv, format="ascii.csv")
    binary = pq.read_table(files.survey_parquet)
    assert binary.num_columns == len(text.colnames) == 25
    for name in ("object_id", "source_id", "ra", "tract"):
        assert np.array_equal(binary.column(name).to_numpy(), np.asarray(text[name]))
    assert np.array_equal(binary.column("g_flux").to_numpy(), np.asarray(text["g_flux"]).astype("f4"))


# -- turns -----------------------------------------------------------------------------------------------------------


class Answering:
    """A peer that answers at once, always the same."""

    most_each_round = 2

    def __init__(self, name: str, rows: int, asked: list[tuple[str, str]], edge_rows: int = 0) -> None:
        self.name, self.rows, self.asked, self.edge_rows = name, rows, asked, edge_rows

    def can(self, query: Query) -> bool:
        return query.adql != "not " + self.name

    def ask(self, query: Query) -> tuple[float, int]:
        self.asked.append((query.adql, self.name))
        return float(len(self.asked)), self.rows


def test_peers_are_asked_by_turns_and_another_is_first_each_round() -> None:
    asked: list[tuple[str, str]] = []
    peers = {name: Answering(name, 7, asked) for name in ("a", "b")}
    rows = [Row("one", "one", [Query("1"), Query("2")]), Row("two", "two", [Query("not b")])]
    measurement = Measurement(rows, peers, small_repeats=1)
    measurement.run(2, lambda _: None)
    assert asked == [
        *[("1", "a"), ("1", "b"), ("not b", "a")],
        *[("2", "b"), ("2", "a"), ("not b", "a")],
        *[("1", "a"), ("1", "b"), ("not b", "a")],
    ]
    # The first round is there to warm up.
    assert measurement.samples["one"] == {"a": [5.0, 7.0], "b": [4.0, 8.0]}
    assert measurement.samples["two"] == {"a": [6.0, 9.0]}
    assert measurement.answers == {"one": 7, "two": 7}


def test_a_peer_is_asked_no_more_of_a_row_in_a_round_than_it_says() -> None:
    asked: list[tuple[str, str]] = []
    row = Row("one", "one", [Query(str(n)) for n in range(8)], small=True)
    Measurement([row], {"a": Answering("a", 7, asked)}, small_repeats=4).run(1, lambda _: None)
    assert [adql for adql, _ in asked] == ["0", "1", "4", "5"]


def test_answers_that_differ_stop_the_run() -> None:
    peers = {"a": Answering("a", 7, []), "b": Answering("b", 8, [])}
    with pytest.raises(BenchError) as caught:
        Measurement([Row("one", "one", [Query("SELECT 1")])], peers, 1).run(1, lambda _: None)
    assert str(caught.value) == ("The answers to 'SELECT 1' differ: {'a': 7, 'b': 8}. Nothing was measured that way.")


def test_one_that_takes_the_edge_of_a_region_for_inside_may_have_a_few_rows_more() -> None:
    row = Row("one", "one", [Query("SELECT 1")])
    peers = {"pgSphere": Answering("pgSphere", 8, [], edge_rows=2), "a": Answering("a", 7, [])}
    measurement = Measurement([row], peers, 1)
    measurement.run(1, lambda _: None)
    assert measurement.answers == {"one": 7}
    alone = Measurement([row], {"pgSphere": peers["pgSphere"]}, 1)
    alone.run(1, lambda _: None)
    assert alone.answers == {"one": 8}
    peers["pgSphere"].rows = 10
    with pytest.raises(BenchError, match=r"differ: \{'pgSphere': 10, 'a': 7\}"):
        Measurement([row], peers, 1).run(1, lambda _: None)


# -- the client ------------------------------------------------------------------------------------------------------

FAILED = b'<VOTABLE><RESOURCE><INFO name="QUERY_STATUS" value="ERROR">no such table</INFO></RESOURCE></VOTABLE>'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        self.server.seen.append((self.client_address[1], fields))  # type: ignore[attr-defined]
        body = FAILED if "fail" in fields["QUERY"][0] else b"n\r\n12\r\n"
        self.send_response(400 if "refuse" in fields["QUERY"][0] else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # The connection is closed without a word, as after some idle seconds.
        self.close_connection = "last" in fields["QUERY"][0]

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", free_port()), Handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(service: ThreadingHTTPServer) -> Iterator[TapClient]:
    found = TapClient(f"http://localhost:{service.server_port}/tap", timeout_s=10)
    yield found
    found.close()


def test_one_connection_serves_many_queries(service: ThreadingHTTPServer, client: TapClient) -> None:
    for _ in range(3):
        assert client.ask("SELECT 1", "csv", 10).body == b"n\r\n12\r\n"
    seen = service.seen  # type: ignore[attr-defined]
    assert len({port for port, _ in seen}) == 1
    assert seen[0][1] == {
        "REQUEST": ["doQuery"],
        "LANG": ["ADQL"],
        "QUERY": ["SELECT 1"],
        "RESPONSEFORMAT": ["text/csv;header=present"],
        "MAXREC": ["10"],
    }


def test_a_connection_that_the_service_closed_is_opened_again(client: TapClient) -> None:
    client.ask("the last", "csv", 10)
    client.wait_closed(10)
    assert client.ask("SELECT 1", "csv", 10).size == 7


@pytest.mark.parametrize(("adql", "status"), [("fail", 200), ("refuse, fail", 400)])
def test_an_error_is_never_measured(client: TapClient, adql: str, status: int) -> None:
    with pytest.raises(BenchError) as caught:
        client.ask(adql, "csv", 10)
    assert str(caught.value) == f"{status} for {adql!r}: {FAILED.decode()}"


def test_a_body_that_is_dropped_has_its_size_all_the_same(client: TapClient) -> None:
    answer = client.ask("SELECT 1", "csv", 10, keep=False)
    assert (answer.size, answer.body) == (7, b"")
    assert 0 < answer.first_byte_s <= answer.seconds


# -- sizes and DaCHS's files -----------------------------------------------------------------------------------------


def chosen(*words: str) -> Sizes:
    parser = argparse.ArgumentParser()
    add_size_options(parser)
    return chosen_sizes(parser.parse_args(words))


def test_every_size_can_be_given_over_the_form() -> None:
    assert chosen() == FULL
    assert chosen("--quick") == QUICK
    assert chosen("--rows", "2_000_000", "--clients", "4").rows == 2_000_000
    assert chosen("--quick", "--rounds", "9").rounds == 9


def test_an_export_is_never_longer_than_the_table() -> None:
    sizes = chosen("--rows", "1000")
    assert (sizes.export_rows, sizes.pyvo_rows) == (1000, 1000)


def test_a_size_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chosen("--rows", "0")
    assert capsys.readouterr().err.endswith("error: argument --rows: must be at least 1\n")


def test_the_descriptor_of_dachs_names_every_column_and_index() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("ra", pa.float64()), ("dec", pa.float64())])
    root = ElementTree.fromstring(_descriptor("survey", schema, ("a", "b")))
    table = root.find("table")
    assert table is not None
    assert table.attrib["primary"] == "a"
    assert [index.attrib["columns"] for index in table.findall("index")] == ["b"]
    columns = {c.attrib["name"]: (c.attrib["type"], c.attrib["ucd"]) for c in table.findall("column")}
    assert columns == {
        "a": ("bigint", ""),
        "b": ("bigint", ""),
        "ra": ("double precision", "pos.eq.ra;meta.main"),
        "dec": ("double precision", "pos.eq.dec;meta.main"),
    }


def test_the_booster_is_completed_with_booleans() -> None:
    source = "fieldscanf(curCont, fi_u_flag, VAL_BOOL);\nfieldscanf(curCont, fi_ra, VAL_DOUBLE);\n"
    assert _completed(source) == (
        "F(fi_u_flag)->type = VAL_BOOL; F(fi_u_flag)->val.c_int8 = *curCont == 't';\n"
        "fieldscanf(curCont, fi_ra, VAL_DOUBLE);\n"
    )
