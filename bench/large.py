"""What a large table asks of one machine: a result of 50 million rows in each format, and 5 million positions matched.

``python -m bench.large FOLDER`` takes a centre that ``python bench/ingest.py FILE --keep FOLDER`` made, of a table of
10 columns that ``bench/generate.py --bands r`` wrote, runs its service, and writes ``bench/results/large.json``:
seconds, rows a second, and the most memory that the service had meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import io
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import requests

from bench.generate import PIECE_ROWS, iter_pieces
from bench.ingest import keep, machine
from bench.peers.centre import installed_idac
from bench.peers.client import HEADERS, TapClient, encode, first_number
from bench.peers.extras import PeakMemory, memory_mb
from bench.peers.processes import BenchError, Service, free_port, stopping

RESULTS = Path(__file__).parent / "results" / "large.json"
TABLE = "survey.objects"
COLUMNS = "object_id, source_id, ra, dec, r_flux, r_flux_err, r_flag, n_obs, extendedness, tract"
FORMS = ("binary2", "csv", "fits", "parquet", "arrow")
_PIECE = 1 << 20
#: How far an uploaded position lies from its object, and how far apart two may be to match, in arcseconds.
MOVED, RADIUS = 0.05, 0.1


def result(url: str, service: Service, form: str, rows: int) -> dict[str, Any]:
    """A result of so many rows, read to its end; BenchError where it has others."""
    peak = PeakMemory(service)
    begun = time.perf_counter()
    first = 0.0
    with tempfile.TemporaryFile() as kept:
        for piece in iter_answer(url, f"SELECT TOP {rows} {COLUMNS} FROM {TABLE}", form, rows):  # noqa: S608
            first = first or time.perf_counter() - begun
            kept.write(piece)
        seconds = time.perf_counter() - begun
        found = rows_in(kept, form)
        size = kept.seek(0, io.SEEK_END)
    if found != rows:
        raise BenchError(f"The {form} result has {found:,} rows instead of {rows:,}.")
    return {
        "seconds": round(seconds, 1),
        "rows_per_s": round(rows / seconds),
        "first_byte_s": round(first, 3),
        "megabytes": round(size / 1e6),
        "peak_mb": round(peak.mb()),
    }


def iter_answer(url: str, adql: str, form: str, rows: int) -> Iterator[bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=3600)
    connection.request("POST", f"{parts.path}/sync", encode(adql, form, rows), HEADERS)
    response = connection.getresponse()
    if response.status != 200:
        raise BenchError(f"{response.status} for {adql!r}: {response.read(1500).decode(errors='replace')}")
    while piece := response.read1(_PIECE):
        yield piece
    connection.close()


def rows_in(file: BinaryIO, form: str) -> int:
    """Rows of a stored result, counted without holding it in memory."""
    file.seek(0)
    if form == "csv":
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(_PIECE), b"")) - 1
    if form == "parquet":
        return int(pq.read_metadata(file).num_rows)
    if form == "arrow":
        return sum(batch.num_rows for batch in pa.ipc.open_stream(file))
    head = file.read(_PIECE)
    if form == "fits":
        return int(head.partition(b"NAXIS2  =")[2].split()[0].decode())
    return _binary2_rows(head, file)


def _binary2_rows(head: bytes, file: BinaryIO) -> int:
    """Encoded bytes, divided by what a row of ``COLUMNS`` takes: two bytes of flags for NULL, then the values."""
    width = 2 + 8 + 8 + 8 + 8 + 4 + 4 + 1 + 2 + 4 + 4
    begin = head.index(b">", head.index(b"<STREAM")) + 1
    characters, last = 0, b""
    for piece in itertools.chain([head[begin:]], iter(lambda: file.read(_PIECE), b"")):
        text = last + piece
        end = text.find(b"</STREAM>")
        done, last = (text, b"") if end >= 0 else (text[:-16], text[-16:])
        counted = (done[:end] if end >= 0 else done).translate(None, b" \r\n\t")
        characters += len(counted)
        if end >= 0:
            padding = counted[-2:].count(b"=")
            return (characters // 4 * 3 - padding) // width
    raise BenchError("The BINARY2 stream has no end.")


def match(url: str, service: Service, positions: int, rows: int) -> dict[str, Any]:
    """As many objects of the table, each moved a little, uploaded and found again: every one must be."""
    peak = PeakMemory(service)
    adql = (
        f"SELECT COUNT(DISTINCT m.number) AS n FROM TAP_UPLOAD.mine AS m JOIN {TABLE} AS s "  # noqa: S608
        f"ON 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(m.ra, m.dec, {RADIUS / 3600:.9f}))"
    )
    body = upload(positions, rows)
    size = len(body)
    begun = time.perf_counter()
    answer = requests.post(
        f"{url}/sync",
        data={"LANG": "ADQL", "QUERY": adql, "RESPONSEFORMAT": "csv", "UPLOAD": "mine,param:mine"},
        files={"mine": ("mine.parquet", body, "application/vnd.apache.parquet")},
        timeout=3600,
    )
    seconds = time.perf_counter() - begun
    if answer.status_code != 200:
        raise BenchError(f"{answer.status_code}: {answer.text[:1500]}")
    found = int(first_number(answer.content))
    if found != positions:
        raise BenchError(f"{found:,} of {positions:,} objects were found again.")
    return {
        "positions": positions,
        "uploaded_megabytes": round(size / 1e6),
        "seconds": round(seconds, 1),
        "peak_mb": round(peak.mb()),
    }


def upload(positions: int, rows: int) -> bytes:
    """A Parquet file of objects out of the first pieces of the table, in no order."""
    pieces = itertools.islice(iter_pieces(rows, 1, bands="r"), -(-positions // PIECE_ROWS))
    table = pa.concat_tables(piece.select(["ra", "dec"]) for piece in pieces).slice(0, positions)
    rng = np.random.default_rng(5)
    order = rng.permutation(positions)
    angle = rng.uniform(0, 2 * np.pi, positions)
    ra, dec = (table.column(name).to_numpy()[order] for name in ("ra", "dec"))
    moved_dec = dec + MOVED / 3600 * np.sin(angle)
    moved_ra = ra + MOVED / 3600 * np.cos(angle) / np.cos(np.radians(dec))
    out = io.BytesIO()
    pq.write_table(pa.table({"number": np.arange(positions), "ra": moved_ra % 360, "dec": moved_dec}), out)
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=50_000_000, help="of each result")
    parser.add_argument("--positions", type=int, default=5_000_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    port = free_port()
    url = f"http://localhost:{port}/api/tap"
    command = [installed_idac(), "--config", str(folder / "dac.yaml"), "up", "--port", str(port), "--json"]
    with stopping(Service("large", command, folder / "log", os.environ, as_user=False)) as service:
        client = TapClient(url, timeout_s=600)
        service.wait_until(lambda: bool(client.ask(f"SELECT TOP 1 * FROM {TABLE}", "csv", 1).size), 120)  # noqa: S608
        rows = int(first_number(client.ask(f"SELECT COUNT(*) AS n FROM {TABLE}", "csv", 10).body))  # noqa: S608
        found: dict[str, Any] = {"rows": rows, "result_rows": options.rows, "idle_mb": round(memory_mb(service))}
        # The match last: what it needed of memory stays with the process for a while.
        found["results"] = {form: result(url, service, form, options.rows) for form in FORMS}
        found["match"] = match(url, service, options.positions, rows)
    keep(found | {"machine": machine()}, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
