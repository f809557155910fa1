"""How fast a file becomes a published table, and within which memory: ``idac catalog add`` in a process of its own.

``python bench/ingest.py SURVEY.parquet`` adds a line to ``bench/results/ingest.json``: rows a second, and the
peak memory of the process and all its children. Memory is told in two numbers: ``own`` is what
the bound of ``catalogs.ingest.memory_gib`` is about; ``resident`` adds the pages of files that are mapped, which the
system takes back when it likes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "ingest.json"
_PROC = Path("/proc")
_INTERVAL_S = 0.1
_CONFIGURATION = """\
catalogs:
  default_read: [public]
  ingest: {{memory_gib: {memory_gib}}}
"""


@dataclass
class Peak:
    """The most memory that a tree of processes had at any look, in bytes."""

    own: int = 0
    resident: int = 0
    spilled: int = 0
    looks: int = field(default=0, compare=False)

    def look(self, pid: int, folder: Path) -> None:
        memory = [_memory(each) for each in iter_tree(pid)]
        self.own = max(self.own, sum(own for own, _ in memory))
        self.resident = max(self.resident, sum(resident for _, resident in memory))
        self.looks += 1
        if self.looks % 20 == 0:
            self.spilled = max(self.spilled, size_of(folder))


def iter_tree(pid: int) -> Iterator[int]:
    """The process and everything it started, as far as they are there."""
    yield pid
    try:
        children = (_PROC / str(pid) / "task").glob("*/children")
        found = [int(word) for path in children for word in path.read_text().split()]
    except OSError:
        return
    for child in found:
        yield from iter_tree(child)


def _memory(pid: int) -> tuple[int, int]:
    """Bytes of memory of its own, and of all that is resident."""
    try:
        text = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0, 0
    kib = {key: int(value) for key, value in re.findall(r"^(RssAnon|RssShmem|VmRSS):\s+(\d+) kB", text, re.MULTILINE)}
    return (kib.get("RssAnon", 0) + kib.get("RssShmem", 0)) << 10, kib.get("VmRSS", 0) << 10


def size_of(folder: Path) -> int:
    """Bytes of the files under *folder*, as far as they are still there."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue
    return total


def run_ingest(source: Path, centre: Path, *, memory_gib: float, id_column: str) -> dict[str, Any]:
    """Publish *source* into a new centre in the folder *centre*; what it took."""
    centre.mkdir(parents=True)
    (centre / "dac.yaml").write_text(_CONFIGURATION.format(memory_gib=memory_gib), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("idac")), "catalog", "add", str(source), "--name", "survey.objects"]
    started = time.perf_counter()
    with (centre / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - its own command, on a file that the caller names
            [*command, "--id", id_column, "--json"], cwd=centre, stdout=subprocess.PIPE, stderr=log, text=True
        )
        peak = Peak()
        while process.poll() is None:
            peak.look(process.pid, centre)
            time.sleep(_INTERVAL_S)
    seconds = time.perf_counter() - started
    out = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {(centre / 'log').read_text()[-2000:]}")
    published = json.loads(out)[0]
    return {
        "source": source.suffix.lstrip("."),
        "source_bytes": source.stat().st_size,
        "rows": published["rows"],
        "columns": published["columns"],
        "memory_gib": memory_gib,
        "seconds": round(seconds, 1),
        "rows_per_s": round(published["rows"] / seconds),
        "peak_own_gib": round(peak.own / 2**30, 2),
        "peak_resident_gib": round(peak.resident / 2**30, 2),
        "peak_disk_gib": round(peak.spilled / 2**30, 2),
        "archive_gib": round(size_of(centre) / 2**30, 2),
        "files": published["files"],
    }


def keep(result: dict[str, Any], path: Path) -> None:
    """Print a result, and keep it in a file."""
    text = json.dumps(result, indent=1) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    sys.stdout.write(text)


def machine() -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def keep_result(path: Path, result: dict[str, Any]) -> None:
    """Add *result* to the JSON list in *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*earlier, result], indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a file that bench/generate.py wrote")
    parser.add_argument("--memory-gib", type=float, default=4.0)
    parser.add_argument("--id", default="object_id")
    parser.add_argument("--keep", type=Path, help="keep the centre in this folder, which must not exist yet")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="idac-bench-"))
    try:
        source, centre = options.source.resolve(), options.keep or scratch / "centre"
        result = run_ingest(source, centre, memory_gib=options.memory_gib, id_column=options.id)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    result |= {"machine": machine(), "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    keep_result(options.results, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
