"""What is past its time goes: results first, then the job, so that nothing is ever left without an owner."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from idac.core.store import Store
from idac.jobs.model import Job, Phase
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore

log = logging.getLogger(__name__)

#: Seconds between sweeps of one process; destruction times are promises of the earliest moment, not the latest.
SWEEP_S = 30.0
_BATCH = 200


class Sweeper:
    """Destroys jobs past their destruction time. Several processes may sweep at once: each step can be repeated."""

    def __init__(self, jobs: JobStore, results: Store, settings: JobsSettings) -> None:
        self._jobs = jobs
        self._results = results
        self._settings = settings
        self._next = 0.0

    def sweep_when_due(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SWEEP_S
            self.sweep()

    def sweep(self) -> int:
        """Destroy what is due; returns how many jobs."""
        destroyed = 0
        while batch := self._jobs.due(_BATCH):
            for job in batch:
                self._destroy(job)
            destroyed += len(batch)
            if len(batch) < _BATCH:
                break
        return destroyed

    def _destroy(self, job: Job) -> None:
        if self._settings.archive_s and job.phase != Phase.ARCHIVED:
            self._jobs.archive(job.id, self._jobs.now() + timedelta(seconds=self._settings.archive_s))
            self._results.delete_prefix(f"{job.folder}/")
        else:
            remove(self._jobs, self._results, job)


def remove(jobs: JobStore, results: Store, job: Job) -> None:
    """End *job*, then its files, then its row: a crash on the way leaves a row that the next sweep finishes.

    A worker that still writes a result finds its claim lost when it wants to publish, and takes the file away itself.
    """
    jobs.abort(job.id)
    results.delete_prefix(f"{job.folder}/")
    jobs.delete(job.id)
