"""A worker process to be killed: takes a job, says so on its output, and writes a result that never ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from idac.core.database import open_database
from idac.core.store import FolderStore
from idac.jobs.model import Job
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore
from idac.jobs.workers import Produced, RunContext, Workers


class Endless:
    def run(self, job: Job, context: RunContext) -> Produced:
        def chunks() -> Iterator[bytes]:
            yield b"half of a resu"
            sys.stdout.write("running\n")
            sys.stdout.flush()
            threading.Event().wait()

        return Produced(chunks(), "text/plain", "txt")


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    workers = Workers(
        JobStore(open_database(sys.argv[1])),
        FolderStore(folder),
        {"count": Endless()},
        JobsSettings(workers=1, poll_s=0.02, lease_s=30),
    )
    workers.start()
    threading.Event().wait()
