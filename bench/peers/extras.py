"""What is reported beside the queries: memory, starts, the first byte of a large result, planning, pyvo."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pyvo
import requests
from astropy.table import Table

from bench.peers.client import FORMATS, TapClient
from bench.peers.processes import BenchError, Service
from bench.peers.queries import EXPORTED, SURVEY

MB = 1e6
MOST_REFUSALS = 200


def seconds_to_first_answer(service: Service, url: str) -> float:
    """Seconds from the start of *service* until a query of one row has been answered."""

    refusals = 0

    def answers() -> bool:
        nonlocal refusals
        client = TapClient(url, timeout_s=60)
        try:
            client.ask(f"SELECT TOP 1 * FROM {SURVEY}", "csv", 10)
        except BenchError:
            # A service that is still starting may say so with a status of its own; but not for ever.
            refusals += 1
            if refusals > MOST_REFUSALS:
                raise
            return False
        finally:
            client.close()
        return True

    service.wait_until(answers, 120)
    return time.perf_counter() - service.begun


def memory_mb(service: Service) -> float:
    """Resident memory of a service's processes, in MB; PostgreSQL's are not among DaCHS's."""
    return sum(process.memory_info().rss for process in service.tree()) / MB


class PeakMemory:
    """The most memory that a service has had since this was made, by the kernel's own high-water mark."""

    def __init__(self, service: Service) -> None:
        self._service = service
        for process in service.tree():
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def mb(self) -> float:
        total = 0
        for process in self._service.tree():
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except (FileNotFoundError, psutil.NoSuchProcess):
                continue
            total += next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return total * 1024 / MB


def pyvo_seconds(url: str, rows: int, expected: str = "default") -> float:
    """Seconds in which pyvo has *rows* rows as an astropy table, in the service's default format."""
    begun = time.perf_counter()
    found = pyvo.dal.TAPService(url).run_sync(f"SELECT TOP {rows} {EXPORTED} FROM {SURVEY}", maxrec=rows).to_table()
    seconds = time.perf_counter() - begun
    _check_rows(len(found), rows)
    return seconds


def parquet_seconds(url: str, rows: int) -> float:
    """Seconds in which the same rows are an astropy table by way of Parquet, with requests, which pyvo uses too."""
    begun = time.perf_counter()
    fields = {
        "REQUEST": "doQuery",
        "LANG": "ADQL",
        "QUERY": f"SELECT TOP {rows} {EXPORTED} FROM {SURVEY}",
        "RESPONSEFORMAT": FORMATS["parquet"],
        "MAXREC": str(rows),
    }
    body = requests.post(f"{url}/sync", data=fields, timeout=600).content
    found = pq.read_table(io.BytesIO(body))
    table = Table({name: found.column(name).to_numpy() for name in found.column_names})
    seconds = time.perf_counter() - begun
    _check_rows(len(table), rows)
    return seconds


def _check_rows(found: int, wanted: int) -> None:
    if found != wanted:
        raise BenchError(f"{found:,} rows came instead of {wanted:,}.")


def repeated(times: int, work: Callable[[], float]) -> list[float]:
    return [work() for _ in range(times)]
