"""What is past its time goes: results first, then the job, so that nothing is ever left without an owner."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta
from itertools import batched

from idac.core.errors import UserError
from idac.core.store import Store
from idac.jobs.model import Job, Phase
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore

log = logging.getLogger(__name__)

#: Seconds between sweeps of one process; destruction times are promises of the earliest moment, not the latest.
SWEEP_S = 30.0
#: Seconds between looks for files that belong to no job, which list the whole result store.
STRAYS_EVERY_S = 3600.0
#: Age from which such files are nobody's: longer than a request takes from its first upload to its job.
STRAY_S = 86400
_BATCH = 200


class Sweeper:
    """Destroys jobs past their destruction time. Several processes may sweep at once: each step can be repeated.

    In a thread of its own: clearing up after thousands of jobs must not keep anyone from renewing their leases.
    """

    def __init__(self, jobs: JobStore, results: Store, settings: JobsSettings) -> None:
        self._jobs = jobs
        self._results = results
        self._settings = settings
        self._next_strays = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._go_on, name="idac-sweeper", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _go_on(self) -> None:
        while not self._stopping.is_set():
            try:
                self.sweep()
                if time.monotonic() >= self._next_strays:
                    self.sweep_strays()
                    self._next_strays = time.monotonic() + STRAYS_EVERY_S
            except UserError as error:
                log.warning("the sweep of old jobs is put off: %s", error)
            except Exception:
                log.exception("the sweep of old jobs failed")
            self._stopping.wait(SWEEP_S)

    def sweep(self) -> int:
        """Destroy what is due; returns how many jobs."""
        destroyed = 0
        while batch := self._jobs.due(_BATCH):
            done = sum(map(self._is_destroyed, batch))
            destroyed += done
            if not done or len(batch) < _BATCH or self._stopping.is_set():
                break
        return destroyed

    def _is_destroyed(self, job: Job) -> bool:
        """Destroy *job*; False where its files can't be removed now, which must not keep the others."""
        try:
            self._destroy(job)
        except UserError as error:
            log.warning("job %s can't be destroyed now: %s", job.id, error)
            return False
        return True

    def _destroy(self, job: Job) -> None:
        if self._settings.archive_s and job.phase != Phase.ARCHIVED:
            self._jobs.archive(job.id, self._jobs.now() + timedelta(seconds=self._settings.archive_s))
            self._results.delete_prefix(f"{job.folder}/")
        else:
            remove(self._jobs, self._results, job)

    def sweep_strays(self) -> int:
        """Remove files of jobs that are not there: of requests and workers that died; returns of how many jobs."""
        newest: dict[str, datetime] = {}
        for item in self._results.list("jobs"):
            job_id = item.key.split("/")[1]
            newest[job_id] = max(item.modified, newest.get(job_id, item.modified))
        oldest = self._jobs.now() - timedelta(seconds=STRAY_S)
        removed = 0
        for ids in batched((i for i, modified in newest.items() if modified < oldest), _BATCH):
            known = self._jobs.phases(ids)
            for job_id in ids:
                if job_id not in known:
                    self._results.delete_prefix(f"jobs/{job_id}/")
                    removed += 1
        self._results.delete_unfinished("jobs", STRAY_S)
        return removed


def remove(jobs: JobStore, results: Store, job: Job) -> None:
    """End *job*, then its files, then its row: a crash on the way leaves a row that the next sweep finishes.

    A worker that still writes a result finds its claim lost when it wants to publish, and takes the file away itself.
    """
    jobs.abort(job.id)
    if job.destruction > jobs.now():
        jobs.set_destruction(job.id, jobs.now())
    results.delete_prefix(f"{job.folder}/")
    jobs.delete(job.id)
