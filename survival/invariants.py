"""What must hold of a centre whatever was done to it; each function gives what is wrong, in words."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from survival.centre import Centre, Process

#: Seconds after its destruction until a job must be gone: two sweeps and a lease.
SWEPT_S = 75.0


def ask(client: httpx.Client, process: Process, adql: str, **more: str) -> list[dict[str, str]]:
    """Rows of a synchronous query, as text."""
    data = {"LANG": "ADQL", "QUERY": adql, "RESPONSEFORMAT": "csv", **more}
    answer = client.post(f"{process.url}/api/tap/sync", data=data)
    if answer.status_code != 200:
        raise AssertionError(f"{answer.status_code} for {adql}: {answer.text[-400:]}")
    return list(csv.DictReader(io.StringIO(answer.text)))


# -- tables ----------------------------------------------------------------------------------------------------------


def wrong_tables(client: httpx.Client, process: Process, truth: Mapping[str, Mapping[int, int]]) -> Iterator[str]:
    """Tables that show rows of two versions or half of one. *truth* has each table's rows by its ``edition``."""
    shown = {row["table_name"].lower() for row in ask(client, process, "SELECT table_name FROM TAP_SCHEMA.tables")}
    for table, rows in truth.items():
        if table not in shown:
            continue
        try:
            found = ask(client, process, f"SELECT COUNT(*) AS n, MIN(edition) AS a, MAX(edition) AS b FROM {table}")[0]
        except AssertionError as error:
            if "no table" in str(error) or "There is no" in str(error):
                continue  # dropped between the two looks
            raise
        if found["a"] != found["b"] or int(found["n"]) != rows.get(int(found["a"]), -1):
            yield f"{table} shows {found}, which is no whole version of it: {dict(rows)}"


def archived(centre: Centre) -> dict[str, list[str]]:
    """Columns of every published table, read from the archive's own files."""
    manifest = json.loads((centre.archive / "catalogs/manifest.json").read_text())
    found: dict[str, list[str]] = {}
    for digest in manifest["documents"].values():
        schema = json.loads((centre.archive / f"catalogs/schemas/{digest}.json").read_text())
        for table in schema["tables"]:
            name = f"{schema['name']}.{table['name']}".lower()
            if name in manifest["tables"]:
                found[name] = [c["name"] for c in table["columns"]]
    return found


def wrong_tap_schema(client: httpx.Client, process: Process, centre: Centre) -> Iterator[str]:
    """Differences between TAP_SCHEMA and the archive, while nobody publishes."""
    time.sleep(0.3)  # longer than catalogs.refresh_s
    expected = archived(centre)
    rows = ask(client, process, "SELECT table_name, column_name FROM TAP_SCHEMA.columns", MAXREC="100000")
    shown: dict[str, list[str]] = {}
    for row in rows:
        shown.setdefault(row["table_name"].lower(), []).append(row["column_name"])
    tables = {row["table_name"].lower() for row in ask(client, process, "SELECT table_name FROM TAP_SCHEMA.tables")}
    for name in {n for n in (*shown, *tables) if not n.startswith("tap_schema.")} | set(expected):
        if sorted(shown.get(name, [])) != sorted(expected.get(name, [])) or (name in tables) != (name in expected):
            yield f"TAP_SCHEMA has {name} with {shown.get(name)}, the archive with {expected.get(name)}"


# -- jobs ------------------------------------------------------------------------------------------------------------


def wrong_jobs(
    rows: Mapping[str, Mapping[str, Any]], acknowledged: Iterable[str], forgotten: set[str]
) -> Iterator[str]:
    """Jobs that were promised and are lost, or ended otherwise than once. *forgotten* may be gone."""
    for job_id in acknowledged:
        if job_id not in rows and job_id not in forgotten:
            yield f"job {job_id} was accepted and is gone"
    for job_id, row in rows.items():
        results = json.loads(row["results"])
        if row["phase"] == "COMPLETED" and len(results) != 1:
            yield f"job {job_id} is COMPLETED with {len(results)} results"
        if row["phase"] != "COMPLETED" and results:
            yield f"job {job_id} is {row['phase']} and has results"
        if row["phase"] == "ERROR":
            yield f"job {job_id} ended in ERROR: {row['error']}"


def wrong_results(centre: Centre, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Results whose file is not what was recorded when it was finished."""
    for job_id, row in rows.items():
        if datetime.fromtimestamp(row["destruction"] / 1000, UTC) <= datetime.now(UTC):
            continue
        for result in json.loads(row["results"]):
            path = centre.results / result["key"]
            if not path.is_file():
                yield f"the result of job {job_id} is missing"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != result["sha256"]:
                yield f"the result of job {job_id} has changed since it was finished"


def overdue_jobs(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    now = time.time()
    for job_id, row in rows.items():
        if row["destruction"] / 1000 < now - SWEPT_S:
            yield f"job {job_id} is {now - row['destruction'] / 1000:.0f} s past its destruction"


# -- what lies about -------------------------------------------------------------------------------------------------


def orphans(centre: Centre) -> Iterator[str]:
    """Files that nothing names, once every process has stopped and everything was swept."""
    yield from _archive_orphans(centre.archive)
    yield from _result_orphans(centre)
    assert centre.temporary is not None
    for folder in (centre.temporary, centre.folder / "spill"):
        yield from (f"left in {folder.name}: {path.name}" for path in sorted(folder.glob("*")))
    known = {"dac.yaml", "archive", "results", "tmp", "sources", "spill"}
    for path in sorted(centre.folder.iterdir()):
        if path.name not in known and not path.name.startswith("state.db") and path.suffix != ".log":
            yield f"left in the centre's folder: {path.name}"


def _archive_orphans(root: Path) -> Iterator[str]:
    manifest = json.loads((root / "catalogs/manifest.json").read_text())
    versions = [v for found in manifest["tables"].values() for v in found]
    retired = [r["key"] for r in manifest["retired"]]
    folders = {v["prefix"] for v in versions} | {key for key in retired if "/" in key}
    documents = {*manifest["documents"].values(), *(v.get("document") for v in versions), *retired}
    for path in sorted(root.rglob("*")):
        key = path.relative_to(root).as_posix()
        if path.is_dir():
            # Folders of tables that are there, and of nothing else; a store of objects has no empty folders.
            if not any(path.iterdir()) and key not in ("catalogs/staging", "catalogs"):
                yield f"empty folder in the archive: {key}"
            continue
        named = (
            key == "catalogs/manifest.json"
            or any(key.startswith(f"{folder}/") for folder in folders)
            or (key.startswith("catalogs/schemas/") and path.stem in documents)
        )
        if not named:
            yield f"orphan in the archive: {key}"


def _result_orphans(centre: Centre) -> Iterator[str]:
    if not centre.results.is_dir():
        return
    rows = centre.jobs()
    named = {
        part["key"] for row in rows.values() for column in ("results", "files") for part in json.loads(row[column])
    }
    for path in sorted(centre.results.rglob("*")):
        key = path.relative_to(centre.results).as_posix()
        if path.is_file() and key not in named:
            job = key.split("/")[1] if "/" in key else ""
            yield f"orphan in the results: {key} (job {rows[job]['phase'] if job in rows else 'unknown'})"
        elif path.is_dir() and key != "jobs" and not any(path.iterdir()):
            yield f"empty folder in the results: {key}"
