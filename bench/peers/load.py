"""Many clients at once: wrk sends cones on open connections and counts the answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.peers.client import HEADERS, encode
from bench.peers.postgres import binaries
from bench.peers.processes import BenchError

_SCRIPT = """
local bodies = {{ {bodies} }}
local at = {start}
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", nil, {headers}, bodies[at])
end
done = function(summary, latency, _)
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write, summary.errors.timeout,
    latency:percentile(95)))
end
"""


@dataclass(frozen=True)
class Burst:
    """Requests answered in a second, the 95th percentile of one's time, and what the clients cost the machine."""

    per_second: float
    p95_s: float
    client_cpu_share: float
    """Processors that the load generator kept busy, where 1 is one processor all the time."""


def burst(url: str, queries: Sequence[str], clients: int, seconds: int) -> Burst:
    """Send *queries* by *clients* at once for *seconds*; BenchError if one answer was not a result."""
    program = shutil.which("wrk")
    if program is None:
        raise BenchError("wrk is not installed; install Debian's package wrk.")
    parts = urlsplit(url)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "cones.lua"
        script.write_text(_script(queries))
        command = [program, "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "--timeout", "120s", "-s", str(script)]
        before = os.times()
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{parts.port}{parts.path}/sync"], capture_output=True, text=True, check=False
        )
        after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    if found is None:
        raise BenchError(f"wrk failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    requests, microseconds, status, broken, late, p95 = map(int, found.groups())
    if status or broken or late:
        raise BenchError(f"Of {requests} answers {status} were errors, {broken} broken and {late} late.")
    return Burst(requests * 1e6 / microseconds, p95 / 1e6, cpu / (microseconds / 1e6))


def _script(queries: Sequence[str]) -> str:
    bodies = ",\n".join(json.dumps(encode(query, "binary2", 1_000_000).decode()) for query in queries)
    headers = "{" + ", ".join(f"[{json.dumps(key)}] = {json.dumps(value)}" for key, value in HEADERS.items()) + "}"
    return _SCRIPT.format(bodies=bodies, headers=headers, start=0)


def bare_burst(dsn: str, queries: Sequence[str], clients: int, seconds: int) -> float:
    """Cones a second of bare PostgreSQL, by pgbench: *queries* are its statements, one picked at random each time."""
    words = dict(word.split("=", 1) for word in dsn.split())
    with tempfile.TemporaryDirectory() as folder:
        command = [str(binaries() / "pgbench"), "-n", "-c", str(clients), "-j", "1", "-T", str(seconds)]
        for number, query in enumerate(queries):
            script = Path(folder) / f"{number}.sql"
            script.write_text(query + ";\n")
            command += ["-f", str(script)]
        env = {"PGPASSWORD": words["password"], "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        command += ["-h", words["host"], "-p", words["port"], "-U", words["user"], words["dbname"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if found is None or "aborted" in done.stdout:
        raise BenchError(f"pgbench failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    return float(found[1])
