"""Sends what no client should: hostile uploads, parameters, paths and HTTP, all from a seed.

No answer may be a 500, none may hang, no file of the server and no address behind it may be read, memory stays bounded,
and the centre answers as before. ``python -m survival requests --cases 2000 --seed 1``.
"""

from __future__ import annotations

import argparse
import http.server
import json
import random
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from survival import hostile
from survival.centre import SETTINGS, Centre, Process, client, merged, rss_bytes, write_stars

ROWS = 5_000
#: Seconds in which every answer must be complete, on a machine that does other things too.
SOON_S = 60.0
#: Bytes beyond what the service took when it was idle.
MEMORY_BYTES = int(1.6 * 2**30)

#: What parameters are filled with.
VALUES = [
    "", " ", "0", "-1", "1e400", "NaN", "inf", "99999999999999999999999999", "0x10", "١٢", "true", "null", "None",
    "\x00", "\r\nX-Injected: 1", "<script>", "' OR 1=1 --", "${jndi:ldap://127.0.0.1/a}", "../../../../etc/passwd",
    "%s%s%s%n", "é" * 500, "A" * 100_000, "\ud7ff\ufffd", "2026-13-45T99:99:99Z", "9999-12-31T23:59:59Z", "0001-01-01",
    "1970-01-01T00:00:00+99:99", "votable", "application/x-votable+xml;serialization=TABLEDATA", "fits", "text/html",
    "application/x-votable+xml;serialization=../x", "ADQL-9", "SELECT 1", "SELECT TOP 1 * FROM s.fixed", "CIRCLE 1 2",
    "doQuery", "RUN", "ABORT", "DELETE", "PENDING", "COMPLETED", "CIRCLE ICRS 10 20 1e9", "10 20", "10,20", "POLYGON",
]  # fmt: skip
NAMES = [
    "QUERY", "LANG", "REQUEST", "RESPONSEFORMAT", "FORMAT", "MAXREC", "RUNID", "UPLOAD", "PHASE", "WAIT", "LAST", "AFTER",
    "DESTRUCTION", "EXECUTIONDURATION", "ACTION", "RA", "DEC", "SR", "VERB", "VERSION", "detail", "POS", "CIRCLE", "ID",
    "\x00", "é", "", "Q" * 5_000,
]  # fmt: skip
PATHS = [
    "/api/tap/sync", "/api/tap/async", "/api/tap/tables", "/api/tap/capabilities", "/api/tap/availability",
    "/api/tap/examples", "/api/scs/s.fixed", "/api/scs/s.nothing", "/api/health", "/", "/api/tap", "/api/tap/tables/s.fixed",
]  # fmt: skip


class Trap(http.server.BaseHTTPRequestHandler):
    """A server that nobody may be sent to."""

    visits: list[str] = []  # noqa: RUF012  one for all requests is what it is for

    def do_GET(self) -> None:
        self.visits.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


class Attack:
    """One centre, and everything that is thrown at it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed = seed
        # Small limits, so that what would exhaust a large machine shows on any.
        limits = {
            "query": {"uploads": {"max_uri_bytes": 64 * 2**20}, "sync_timeout_s": 30},
            "server": {"max_upload_bytes": 64 * 2**20},
            "engine": {"memory_gib": 0.5},
        }
        self.centre = Centre(folder, merged(SETTINGS, limits))
        self.process = Process(self.centre, "up", "query,jobs")
        self.token = f"secret-{secrets.token_hex(12)}"
        # Not in the centre's folder: a client's own words may be told back to it, and nobody else's paths.
        self.place = tempfile.TemporaryDirectory(prefix="survival-secret-")
        self.secret = Path(self.place.name) / "secret.txt"
        self.secret.write_text(self.token)
        self.trap = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trap)
        threading.Thread(target=self.trap.serve_forever, daemon=True).start()
        self.wrong: list[str] = []
        self.statuses: Counter[str] = Counter()
        self.job = ""
        self.peak = self.idle = 0
        self.slowest = (0.0, "")

    def start(self) -> None:
        sources = self.centre.folder / "sources"
        sources.mkdir()
        write_stars(sources / "fixed.parquet", ROWS, 4)
        self.centre.idac("catalog", "add", str(sources / "fixed.parquet"), "--name", "s.fixed", "--id", "id")
        self.process.start()
        with client() as web:
            answer = web.post(f"{self.process.url}/api/tap/async", data={"LANG": "ADQL", "QUERY": "SELECT 1"})
            self.job = "/" + answer.headers["location"].split("/", 3)[3]
            web.get(f"{self.process.url}/api/tap/tables")
        self.idle = rss_bytes(self.process.pid)

    def close(self) -> None:
        self.trap.shutdown()
        self.trap.server_close()
        self.place.cleanup()
        if self.process.alive:
            self.process.kill()

    # -- one case ------------------------------------------------------------------------------------------------

    def case(self, number: int) -> None:
        dice = random.Random(f"{self.seed} {number}")
        share = dice.random()
        make: Callable[[httpx.Client, random.Random], httpx.Response | None]
        make = (
            self.upload if share < 0.4 else self.bomb if share < 0.41 else self.raw if share < 0.5 else self.parameters
        )
        begun = time.monotonic()
        try:
            with client(SOON_S) as web:
                answer = make(web, dice)
        except httpx.TimeoutException:
            self.find(number, make.__name__, f"no answer in {SOON_S:g} s")
            return
        except (httpx.TransportError, httpx.InvalidURL) as error:
            self.statuses[type(error).__name__] += 1
            if not self.process.alive:
                self.find(number, make.__name__, "the service died")
            return
        took = time.monotonic() - begun
        if took > self.slowest[0]:
            self.slowest = (took, f"case {number}, {make.__name__}")
        if answer is not None:
            self.judge(number, make.__name__, answer)

    def judge(self, number: int, what: str, answer: httpx.Response) -> None:
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code >= 500 and answer.status_code != 503:
            self.find(number, what, f"{answer.status_code}: {answer.text[-300:]}")
        if self.token in answer.text or "root:x:0" in answer.text:
            self.find(number, what, "a file of the server was read")
        if str(self.centre.folder) in answer.text:
            self.find(number, what, f"a path of the server is told: {answer.text[-300:]}")
        if "x-injected" in answer.headers:
            self.find(number, what, "a header was injected")

    def find(self, number: int, what: str, problem: str) -> None:
        self.wrong.append(f"case {number} ({what}): {problem}")
        print(f"  WRONG: {self.wrong[-1]}", flush=True)

    def upload(self, web: httpx.Client, dice: random.Random) -> httpx.Response:
        return self._send(web, dice, *dice.choice(hostile.UPLOADS)(dice, self.secret))

    def bomb(self, web: httpx.Client, dice: random.Random) -> httpx.Response:
        return self._send(web, dice, *hostile.bomb(dice, self.secret))

    def _send(self, web: httpx.Client, dice: random.Random, name: str, data: bytes) -> httpx.Response:
        query = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.mine", "UPLOAD": "mine,param:t", "MAXREC": "1000"}
        path = dice.choice(["sync", "sync", "sync", "async"])
        if path == "async":
            query["PHASE"] = "RUN"
        query["RESPONSEFORMAT"] = dice.choice(["csv", "votable", "json", "votable/td"])
        return web.post(f"{self.process.url}/api/tap/{path}", data=query, files={"t": (name, data)})

    def parameters(self, web: httpx.Client, dice: random.Random) -> httpx.Response:
        """Any values for any parameters, at any address."""
        path = dice.choice([*PATHS, self.job, *(f"{self.job}/{part}" for part in ("phase", "results/x", "parameters"))])
        if dice.random() < 0.1:
            path += dice.choice(["/%2e%2e/%2e%2e/etc/passwd", "//", "/%00", "/é", "/" + "a" * 5_000, "?%", "/..;/"])
        pairs = [(dice.choice(NAMES), dice.choice(VALUES)) for _ in range(dice.randrange(0, 6))]
        if dice.random() < 0.6:
            pairs += [("LANG", "ADQL"), ("QUERY", "SELECT TOP 2 id FROM s.fixed")]
        if dice.random() < 0.2:
            pairs.append(("UPLOAD", self._upload_address(dice)))
        method = dice.choice(["GET", "POST", "POST", "DELETE", "HEAD", "PUT", "OPTIONS", "PATCH"])
        if path.startswith(self.job):
            method = dice.choice(["GET", "HEAD", "POST"])
            pairs = [(n, v) for n, v in pairs if v != "DELETE" and n != "WAIT"]
        sent: dict[str, Any] = {"params": pairs} if method != "POST" else {"data": {n: v for n, v in pairs}}  # noqa: C416
        return web.request(method, f"{self.process.url}{path}", **sent)

    def _upload_address(self, dice: random.Random) -> str:
        port = self.trap.server_address[1]
        address = dice.choice([
            self.secret.as_uri(), f"http://127.0.0.1:{port}/x", f"http://localhost:{port}/x", f"http://[::1]:{port}/x",
            f"http://0x7f000001:{port}/x", f"http://2130706433:{port}/x", f"http://127.1:{port}/x", "ftp://127.0.0.1/x",
            f"http://user:pass@127.0.0.1:{port}/", "data:text/csv,a%0A1", "param:../../secret.txt", "param:", "gopher://x",
            f"http://0:{port}/", f"http://[::ffff:127.0.0.1]:{port}/", "http://169.254.169.254/latest/meta-data/", "//", ":",
        ])  # fmt: skip
        return dice.choice(["mine", "a b", "SELECT", "x;y", "", "é"]) + dice.choice([",", ";", ""]) + address

    def raw(self, _web: httpx.Client, dice: random.Random) -> httpx.Response | None:
        """HTTP that is none."""
        form = b"LANG=ADQL&QUERY=SELECT+1"
        requests = [
            b"GET /api/tap/sync HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 300_000 + b"\r\n\r\n",
            b"GET /api/tap/sync HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /api/tap/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n" + form,
            b"POST /api/tap/sync HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n" + form,
            b"POST /api/tap/sync HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nab\r\n0\r\n\r\n",
            b"POST /api/tap/sync HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nzz\r\n\r\n",
            b"POST /api/tap/sync HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary="
            + b"b" * 5_000
            + b"\r\n"
            b"Content-Length: 3\r\n\r\nabc",
            b"POST /api/tap/sync HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /api/tap/sync HTTP/1.1\r\nHost: \x00\xff\r\nContent-Type: \xff\r\nContent-Length: 2\r\n\r\n\xff\xfe",
            bytes(dice.getrandbits(8) for _ in range(2_000)),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
            self._multipart(dice),
        ]
        with socket.create_connection(("127.0.0.1", self.process.port), timeout=20) as connection:
            try:
                connection.sendall(dice.choice(requests))
                if dice.random() < 0.3:
                    return None  # gone without a word
                connection.shutdown(socket.SHUT_WR)
                said = connection.recv(65536)
            except (ConnectionError, TimeoutError):
                self.statuses["closed"] += 1
                return None
        self.statuses["raw " + said[9:12].decode("latin-1")] += 1
        return httpx.Response(500, text=said.decode("latin-1")) if said[9:12] == b"500" else None

    def _multipart(self, dice: random.Random) -> bytes:
        parts = [
            b'--b\r\nContent-Disposition: form-data; name="' + b"n" * 20_000 + b'"\r\n\r\nx\r\n',
            b'--b\r\nContent-Disposition: form-data; name="QUERY"; filename="../../../x"\r\n\r\nx\r\n',
            b"--b\r\n" + b"X: y\r\n" * 5_000 + b"\r\nx\r\n",
            b"--b\r\nContent-Disposition: form-data; name*=UTF-8''%ff%fe\r\n\r\nx\r\n",
            b"--b\r\n\r\nno header\r\n",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + bytes(range(256)) + b"\r\n",
        ] * dice.choice([1, 1, 500])
        dice.shuffle(parts)
        body = b"".join(parts) + dice.choice([b"--b--\r\n", b"", b"--b"])
        return (
            b"POST /api/tap/sync HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )

    # -- all of them ---------------------------------------------------------------------------------------------

    def run(self, cases: int, clients: int) -> None:
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,))
        watcher.start()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(self.case, range(cases)))
        self._after(cases)
        done.set()
        watcher.join()

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(0.2) and self.process.alive:
            self.peak = max(self.peak, rss_bytes(self.process.pid))

    def _after(self, cases: int) -> None:
        if not self.process.alive:
            self.find(cases, "end", "the service died")
            return
        with client(SOON_S) as web:
            query = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM s.fixed", "RESPONSEFORMAT": "csv"}
            answer = web.post(f"{self.process.url}/api/tap/sync", data=query)
            if answer.text != f"n\r\n{ROWS}\r\n":
                self.find(cases, "end", f"afterwards it answers {answer.status_code} {answer.text[-200:]}")
        for fault in self.centre.faults():
            self.find(cases, "log", fault)
        if Trap.visits:
            self.find(cases, "trap", f"addresses behind the server were fetched: {Trap.visits[:3]}")
        if self.peak - self.idle > MEMORY_BYTES:
            self.find(cases, "memory", f"{(self.peak - self.idle) / 2**20:.0f} MiB above idle")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="survival requests", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the centre here (default: a temporary folder, removed)")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    options = parser.parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="survival-"))
    begun = time.monotonic()
    attack = Attack(folder, options.seed)
    try:
        attack.start()
        attack.run(options.cases, options.clients)
    finally:
        attack.close()
    print(f"answers: {dict(sorted(attack.statuses.items()))}")
    print(f"memory: {attack.idle / 2**20:.0f} MiB idle, {attack.peak / 2**20:.0f} at most; slowest: {attack.slowest}")
    print(f"{options.cases} cases in {time.monotonic() - begun:.0f} s: {len(attack.wrong)} findings")
    if options.json:
        found = {"seed": options.seed, "cases": options.cases, "answers": attack.statuses, "wrong": attack.wrong}
        options.json.write_text(json.dumps(found, indent=1))
    if options.folder is None and not attack.wrong:
        shutil.rmtree(folder, ignore_errors=True)
    elif attack.wrong:
        print(f"the centre is kept in {folder}", file=sys.stderr)
    return 1 if attack.wrong else 0
