"""What any HTTP client sees: each result format, its marks and headers, and UWS to the letter."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.io.votable.tree import VOTableFile
from defusedxml.ElementTree import fromstring

from clients.survey import VISITS
from services import http
from services.idac_process import IdacProcess
from services.stilts import run_stilts
from services.waiting import until
from services.xml_schemas import schema_arguments

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
VOTABLE = "{http://www.ivoa.net/xml/VOTable/v1.3}"
XLINK = "{http://www.w3.org/1999/xlink}"
QUERY = "SELECT visit FROM survey.visits"


def votable_rows(data: bytes) -> tuple[int, bool]:
    document: VOTableFile = votable.parse(io.BytesIO(data))
    infos = [(i.name, i.value) for i in document.resources[0].infos]
    assert infos[0] == ("QUERY_STATUS", "OK")
    return len(document.get_first_table().array), infos[-1] == ("QUERY_STATUS", "OVERFLOW")


def parquet_rows(data: bytes) -> tuple[int, bool]:
    file = pq.ParquetFile(io.BytesIO(data))
    header = fromstring(file.metadata.metadata[b"IVOA.VOTable-Parquet.content"])
    status = [i.get("value") for i in header.iter(f"{VOTABLE}INFO") if i.get("name") == "QUERY_STATUS"]
    return file.metadata.num_rows, status[-1] == "OVERFLOW"


def fits_rows(data: bytes) -> tuple[int, bool]:
    with fits.open(io.BytesIO(data)) as found:
        return len(found[1].data), found[1].header["QSTATUS"] == "OVERFLOW"


def json_rows(data: bytes) -> tuple[int, bool]:
    document = json.loads(data)
    return len(document["data"]), document["status"] == "OVERFLOW"


def text_rows(data: bytes) -> tuple[int, bool]:
    lines = data.decode().splitlines()
    assert lines[0] == "visit"
    return len(lines) - 1, False


def arrow_rows(data: bytes) -> tuple[int, bool]:
    batches = list(pa.ipc.open_stream(data).iter_batches_with_custom_metadata())
    last = batches[-1].custom_metadata
    return sum(b.batch.num_rows for b in batches), last["QUERY_STATUS"] == b"OVERFLOW"


#: Format, the media type it comes with, the ending of its file, how to count its rows, and whether it can say that a
#: result was cut.
FORMATS: list[tuple[str, str, str, Callable[[bytes], tuple[int, bool]], bool]] = [
    ("votable", "application/x-votable+xml;serialization=binary", "vot", votable_rows, True),
    ("votable/b2", "application/x-votable+xml;serialization=binary2", "vot", votable_rows, True),
    ("votable/td", "application/x-votable+xml;serialization=tabledata", "vot", votable_rows, True),
    ("parquet", "application/vnd.apache.parquet", "parquet", parquet_rows, True),
    ("fits", "application/fits", "fits", fits_rows, True),
    ("csv", "text/csv;header=present; charset=utf-8", "csv", text_rows, False),
    ("tsv", "text/tab-separated-values;header=present; charset=utf-8", "tsv", text_rows, False),
    ("json", "application/json", "json", json_rows, True),
    ("arrow", "application/vnd.apache.arrow.stream", "arrow", arrow_rows, True),
]


@pytest.mark.parametrize(("name", "mime", "ending", "count", "marks"), FORMATS, ids=[f[0] for f in FORMATS])
def test_each_format_comes_under_its_own_type_and_name(
    survey: IdacProcess, name: str, mime: str, ending: str, count: Callable[[bytes], tuple[int, bool]], marks: bool
) -> None:
    whole = survey.sync(QUERY, RESPONSEFORMAT=name)
    assert (whole.status_code, whole.headers["content-type"]) == (200, mime)
    assert whole.headers["content-disposition"] == f'inline; filename="result.{ending}"'
    assert whole.headers["content-length"] == str(len(whole.content))
    assert count(whole.content) == (VISITS, False)
    cut = survey.sync(QUERY, RESPONSEFORMAT=name, MAXREC="7")
    assert count(cut.content) == (7, marks)
    none = survey.sync(QUERY, RESPONSEFORMAT=name, MAXREC="0")
    assert count(none.content) == (0, marks)
    by_type = survey.sync(QUERY, RESPONSEFORMAT=mime.split("; charset")[0], MAXREC="7")
    assert by_type.content == cut.content


def test_every_format_that_capabilities_name_is_answered_in(survey: IdacProcess) -> None:
    root = fromstring(http.get(f"{survey.tap}/capabilities").content)
    names = [alias.text or "" for output in root.iter("outputFormat") for alias in output]
    assert len(names) > 20
    for name in names:
        answer = survey.sync(QUERY, FORMAT=name, MAXREC="1")
        assert answer.status_code == 200, name


@pytest.mark.parametrize("face", ["application/json", "text/html,application/xhtml+xml", "*/*"])
def test_an_error_has_the_face_that_its_reader_knows(survey: IdacProcess, face: str) -> None:
    url = f"{survey.tap}/sync?LANG=ADQL&QUERY=SELECT+mags+FROM+survey.objects"
    answer = http.get(url, headers={"accept": face})
    assert answer.status_code == 400
    words = "There is no column of this name in the tables of this query."
    if face == "application/json":
        assert answer.json()["error"] == {
            "code": "bad-query",
            "message": f"line 1, column 8: {words} Given: mags. Did you mean mag?",
            "what": words,
            "value": "mags",
            "next_step": "Did you mean mag?",
            "line": 1,
            "column": 8,
        }
    elif face == "*/*":
        assert answer.headers["content-type"] == "application/x-votable+xml"
        (info,) = fromstring(answer.content).iter(f"{VOTABLE}INFO")
        assert (info.get("name"), info.get("value")) == ("QUERY_STATUS", "ERROR")
    else:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert f"<h1>{words}</h1>" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        (
            "GET",
            "/api/nothing",
            404,
            "NotFoundFault: There is nothing at this address. Given: /api/nothing. "
            "See / for what this centre offers.\n",
        ),
        (
            "PUT",
            "/api/tap/sync",
            405,
            "UsageFault: This address does not take this method. Given: PUT. Allowed: GET, HEAD, OPTIONS, POST.\n",
        ),
        (
            "DELETE",
            "/api/tap/async",
            405,
            "UsageFault: This address does not take this method. Given: DELETE. Allowed: GET, HEAD, OPTIONS, POST.\n",
        ),
    ],
)
def test_what_is_not_there_is_said_in_words(
    survey: IdacProcess, method: str, path: str, status: int, text: str
) -> None:
    answer = http.request(method, f"{survey.url}{path}")
    assert (answer.status_code, answer.text) == (status, text)
    assert answer.headers["server"].startswith("idac/")


def test_parameters_have_no_case_and_unknown_ones_no_meaning(survey: IdacProcess) -> None:
    form = {"lang": "adql-2.1", "Request": "doQuery", "version": "1.1", "query": QUERY, "responseFormat": "CSV"}
    answer = http.post(f"{survey.tap}/sync", data={**form, "maxRec": "2", "tapclient": "mine", "X-Extra": "1"})
    assert (answer.status_code, answer.text) == (200, "visit\r\n0\r\n1\r\n")
    twice = http.post(f"{survey.tap}/sync", data={**form, "maxRec": ["2", "3"]})
    assert twice.status_code == 400
    assert "MAXREC is given 2 times with different values. Given: '2', '3'. " in twice.text
    same = http.post(f"{survey.tap}/sync", data={**form, "maxRec": ["2", "2"]})
    assert same.text == answer.text


def test_pages_are_compressed_and_kept_by_their_tag(survey: IdacProcess) -> None:
    for page in ("capabilities", "tables", "examples"):
        url = f"{survey.tap}/{page}"
        plain = http.get(url, headers={"accept-encoding": "identity", "user-agent": "test"})
        packed = http.get(url, headers={"user-agent": "test"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == plain.content
        kept = http.get(url, headers={"if-none-match": packed.headers["etag"], "user-agent": "test"})
        assert (kept.status_code, kept.content) == (304, b"")
        head = http.head(url, headers={"accept-encoding": "identity", "user-agent": "test"})
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(plain.content)), b"")


class Job:
    """A job as plain HTTP has it."""

    def __init__(self, survey: IdacProcess, **parameters: str) -> None:
        created = http.post(f"{survey.tap}/async", data={"LANG": "ADQL", "QUERY": QUERY, **parameters})
        assert created.status_code == 303, created.text
        self.url = created.headers["location"]
        assert self.url.startswith(f"{survey.tap}/async/")

    def get(self, part: str = "", **headers: str) -> httpx.Response:
        return http.get(f"{self.url}{part}", headers=headers, timeout=90)

    def post(self, part: str, **data: str) -> httpx.Response:
        return http.post(f"{self.url}{part}", data=data)

    def wait(self) -> ET.Element:
        """The job's document, once it has ended."""
        while True:
            root = fromstring(self.get("?WAIT=60").content)
            if root.findtext(f"{UWS}phase") not in ("PENDING", "QUEUED", "EXECUTING"):
                return root


@pytest.fixture
def job(survey: IdacProcess) -> Iterator[Job]:
    made = Job(survey, FORMAT="csv", RUNID="r 1")
    yield made
    http.delete(made.url)


def test_a_new_job_waits_for_the_word(job: Job) -> None:
    root = fromstring(job.get().content)
    assert (root.findtext(f"{UWS}phase"), root.findtext(f"{UWS}runId")) == ("PENDING", "r 1")
    values = {p.get("id"): p.text for p in root.iter(f"{UWS}parameter")}
    assert values == {"LANG": "ADQL", "QUERY": QUERY, "FORMAT": "csv", "RUNID": "r 1"}
    assert [job.get(f"/{part}").text for part in ("phase", "quote", "owner")] == ["PENDING", "", ""]
    assert job.get("/error").status_code == 404
    assert list(fromstring(job.get("/results").content)) == []


def test_results_are_served_whole_and_in_parts(job: Job) -> None:
    assert job.post("/phase", PHASE="RUN").status_code == 303
    result = job.wait().find(f"{UWS}results/{UWS}result")
    assert result is not None
    address = result.get(f"{XLINK}href") or ""
    assert address == f"{job.url}/results/result"
    whole = http.get(address)
    assert whole.headers["content-type"] == "text/csv;header=present; charset=utf-8"
    assert whole.headers["content-disposition"] == 'inline; filename="result.csv"'
    assert (whole.headers["accept-ranges"], result.get("size")) == ("bytes", str(len(whole.content)))
    part = http.get(address, headers={"range": "bytes=7-10"})
    assert (part.status_code, part.text, part.headers["content-range"]) == (
        206,
        "0\r\n1",
        f"bytes 7-10/{len(whole.content)}",
    )
    assert http.get(address, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert http.head(address).headers["content-length"] == str(len(whole.content))
    assert job.get("/results/other").status_code == 404


def test_limits_are_moved_to_what_the_centre_allows(job: Job) -> None:
    assert job.get("/executionduration").text == "600"
    for asked, given in (("5", "5"), ("0", "1000"), ("999999", "1000")):
        changed = job.post("/executionduration", EXECUTIONDURATION=asked)
        assert (changed.status_code, changed.headers["location"]) == (303, job.url)
        assert job.get("/executionduration").text == given
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    job.post("/destruction", DESTRUCTION=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert job.get("/destruction").text == soon.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    job.post("/destruction", DESTRUCTION="2999-01-01T00:00:00Z")
    latest = datetime.fromisoformat(job.get("/destruction").text)
    assert latest < datetime.now(UTC) + timedelta(days=31)


def test_a_wait_returns_at_once_where_nothing_can_change(job: Job) -> None:
    assert job.get("/phase?WAIT=60&PHASE=EXECUTING").text == "PENDING"
    job.post("/phase", PHASE="ABORT")
    assert job.get("/phase?WAIT=-1").text == "ABORTED"
    assert job.post("/phase", PHASE="ABORT").status_code == 303
    again = job.post("/phase", PHASE="RUN")
    assert again.status_code == 409


def test_deleting_redirects_to_the_list_and_leaves_nothing(survey: IdacProcess) -> None:
    for delete in (lambda job: http.delete(job.url), lambda job: job.post("", ACTION="DELETE")):
        job = Job(survey, PHASE="RUN")
        job.wait()
        folder = survey.folder / "results" / "jobs" / job.url.rpartition("/")[2]
        assert any(path.is_file() for path in folder.rglob("*"))
        gone = delete(job)
        assert (gone.status_code, gone.headers["location"]) == (303, f"{survey.tap}/async")
        assert job.get().status_code == 404
        assert not any(path.is_file() for path in folder.rglob("*"))


def test_documents_are_valid_by_their_schemas(survey: IdacProcess, job: Job, tmp_path: Path) -> None:
    job.post("/phase", PHASE="RUN")
    job.wait()
    failed = Job(survey, QUERY="SELECT mags FROM survey.objects", PHASE="RUN")
    failed.wait()
    pages = {
        "job": job.get(),
        "failed": failed.get(),
        "pending": Job(survey).get(),
        "jobs": http.get(f"{survey.tap}/async"),
        "parameters": job.get("/parameters"),
        "results": job.get("/results"),
        "table": http.get(f"{survey.tap}/tables/survey.detections"),
    }
    for name, page in pages.items():
        path = tmp_path / f"{name}.xml"
        path.write_bytes(page.content)
        done = run_stilts("xsdvalidate", *schema_arguments(tmp_path), f"doc={path}")
        complaints = [line for line in (done.stdout + done.stderr).splitlines() if "Unused custom schema" not in line]
        assert (done.returncode, complaints) == (0, []), name


def test_a_client_that_hangs_up_leaves_no_query_behind(survey: IdacProcess) -> None:
    """More clients than the engine has places start long work and go away; the next one is answered all the same."""
    parts = urlsplit(survey.url)
    query = "SELECT+a.flux,b.flux+FROM+survey.detections+AS+a,survey.detections+AS+b,survey.detections+AS+c"
    for _ in range(6):
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
            request = (
                f"GET /api/tap/sync?LANG=ADQL&MAXREC=400000000&FORMAT=csv&QUERY={query} HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            connection.sendall(request.encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    heavy = "SELECT COUNT(*) AS n FROM survey.detections AS a, survey.detections AS b"
    assert survey.sync(heavy, FORMAT="csv").text == "n\r\n36000000\r\n"
    until(lambda: http.get(f"{survey.url}/api/health").json()["status"] == "ok")
