"""The processes' working half: threads that run jobs, and one that minds them all through the state database."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from idac.core.errors import Cancelled, ResourceExhausted, StoreUnavailable, TooLarge
from idac.core.quota import Quota
from idac.core.store import Store
from idac.jobs.model import Job, JobError, JobProgress, JobResult, Phase
from idac.jobs.room import no_room_left
from idac.jobs.settings import JobsSettings
from idac.jobs.store import Claim, JobStore
from idac.jobs.sweeper import Sweeper
from idac.web.faces import as_user_error

log = logging.getLogger(__name__)

#: Seconds between two tries to write down how a job ended.
_AGAIN_S = 0.5

type StopReason = Literal["gone", "timeout", "shutdown"]


@dataclass(frozen=True)
class Produced:
    """A finished run's answer: bytes to store whole, and how they are called."""

    chunks: Iterator[bytes]
    mime: str
    extension: str
    #: Frees what the run holds; called once, whether the chunks were read or not.
    close: Callable[[], None] = lambda: None


class RunContext(Protocol):
    """What a runner may ask of its worker while it runs."""

    @property
    def cancelled(self) -> bool: ...
    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Call *stop*, from another thread and more than once, when the job must end; at once if that is so already."""
        ...

    def report(self, read: Callable[[], JobProgress]) -> None:
        """Ask *read* now and then how far the run is."""
        ...


class Runner(Protocol):
    """One kind of job. Called in a thread; raises UserError for what the owner may see."""

    def run(self, job: Job, context: RunContext) -> Produced: ...


@dataclass
class Run:
    """One attempt under way in this process."""

    job: Job
    claim: Claim
    started: float
    duration_s: int
    stop_reason: StopReason | None = None
    _stops: list[Callable[[], None]] = field(default_factory=list)
    _read: Callable[[], JobProgress] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cancelled(self) -> bool:
        return self.stop_reason is not None

    def on_cancel(self, stop: Callable[[], None]) -> None:
        with self._lock:
            self._stops.append(stop)
        if self.cancelled:
            stop()

    def report(self, read: Callable[[], JobProgress]) -> None:
        self._read = read

    def progress(self) -> JobProgress | None:
        return self._read() if self._read is not None else None

    def stop(self, reason: StopReason) -> None:
        """Stop for this reason, or for the first one given; called again until the run has ended.

        A run may be at a point where there is nothing yet to be stopped, so one call may go unheard.
        """
        with self._lock:
            self.stop_reason = self.stop_reason or reason
            stops = list(self._stops)
        for stop in stops:
            stop()


class Workers:
    """Runs QUEUED jobs of the kinds in *runners*, at most ``settings.workers`` at a time, until stopped.

    One minding thread looks at the state database every ``poll_s``: it renews leases, stops what was aborted, deleted
    or is over its time, takes over what others left, and hands new jobs to threads. So an abort given anywhere stops
    the work here within half a second, at the cost of one small query a look however many jobs run. *changed* is told,
    from some thread, whenever a phase has changed here. *quota_of* says what whoever a job is counted for may have;
    without it there are no quotas.
    """

    def __init__(
        self,
        jobs: JobStore,
        results: Store,
        runners: Mapping[str, Runner],
        settings: JobsSettings,
        changed: Callable[[], None] = lambda: None,
        quota_of: Callable[[str], Quota] | None = None,
    ) -> None:
        self.name = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._jobs = jobs
        self._results = results
        self._runners = dict(runners)
        self._settings = settings
        self._changed = changed
        self._quota_of = quota_of
        self._sweeper = Sweeper(jobs, results, settings)
        self._runs: dict[str, Run] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._minder: threading.Thread | None = None
        self._renewed = 0.0
        self._reported: dict[str, JobProgress] = {}

    def start(self) -> None:
        """Begin to take jobs; does nothing in a process with no workers."""
        if self._settings.workers and self._minder is None:
            self._minder = threading.Thread(target=self._mind, name="idac-jobs", daemon=True)
            self._minder.start()
            self._sweeper.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop taking jobs, stop those in hand and give them back to the queue."""
        self._stopping.set()
        self._wake.set()
        if self._minder is not None:
            self._minder.join(timeout_s)
        with self._lock:
            runs, threads = list(self._runs.values()), list(self._threads.values())
        for run in runs:
            run.stop("shutdown")
        end = time.monotonic() + timeout_s
        for thread in threads:
            while thread.is_alive() and time.monotonic() < end:
                thread.join(self._settings.poll_s)
                for run in runs:
                    run.stop("shutdown")
        self._sweeper.stop(max(0.0, end - time.monotonic()))

    def wake(self) -> None:
        """Look for work now: a job was queued or ended in this process."""
        self._wake.set()

    def _mind(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick()
            except Exception:
                # A state database that is away for a while must not end the minding; leases cover the gap.
                log.exception("the job minder could not reach the state database")
            self._wake.wait(self._settings.poll_s)
            self._wake.clear()

    def tick(self) -> None:
        """One look at the state database."""
        with self._lock:
            runs = dict(self._runs)
        if runs:
            self._check(runs)
        if time.monotonic() - self._renewed >= self._settings.lease_s / 4:
            self._renewed = time.monotonic()
            self._jobs.renew(self.name, self._settings.lease_s)
            again, failed = self._jobs.reclaim(self._settings.max_attempts)
            if again or failed:
                log.warning("took over jobs of silent workers: %d queued again, %d given up", again, failed)
        while len(self._runs) < self._settings.workers and not self._stopping.is_set():
            most = self._most_running if self._quota_of is not None else None
            claimed = self._jobs.claim(tuple(self._runners), self.name, self._settings.lease_s, most)
            if claimed is None:
                return
            self._begin(*claimed)

    def _most_running(self, owner: str) -> int | None:
        return self._quota_of(owner).concurrent if self._quota_of is not None else None

    def _check(self, runs: Mapping[str, Run]) -> None:
        held = self._jobs.held(self.name)
        for job_id, run in runs.items():
            attempt, duration_s = held.get(job_id, (-1, 0))
            if attempt != run.claim.attempt:
                run.stop("gone")
            elif time.monotonic() - run.started > duration_s:
                run.duration_s = duration_s
                run.stop("timeout")
            else:
                self._report(run)

    def _report(self, run: Run) -> None:
        progress = run.progress()
        if progress is not None and progress != self._reported.get(run.job.id):
            self._reported[run.job.id] = progress
            self._jobs.report(run.claim, progress)

    def _begin(self, job: Job, claim: Claim) -> None:
        run = Run(job, claim, time.monotonic(), job.execution_duration_s)
        thread = threading.Thread(target=self._run, args=(run,), name=f"idac-job-{job.id[:8]}", daemon=True)
        with self._lock:
            self._runs[job.id] = run
            self._threads[job.id] = thread
        thread.start()
        self._changed()

    def _run(self, run: Run) -> None:
        try:
            self._work(run)
        except Exception as error:  # noqa: BLE001  recorded as the job's end, or logged with a fault id
            self._end_badly(run, error)
        finally:
            with self._lock:
                # After a lost lease this process may run the job again already.
                if self._runs.get(run.job.id) is run:
                    del self._runs[run.job.id], self._threads[run.job.id]
                    self._reported.pop(run.job.id, None)
            self._wake.set()
            self._changed()

    def _work(self, run: Run) -> None:
        produced = self._runners[run.job.kind].run(run.job, run)
        try:
            self._publish(run, produced)
        finally:
            produced.close()

    def _publish(self, run: Run, produced: Produced) -> None:
        key = f"{run.job.folder}/{run.claim.attempt}/result.{produced.extension}"
        counted = _Counted(produced.chunks, *self._written(lambda: self._room(run.job)))
        try:
            self._results.put_atomic(key, counted)
        except Exception as error:
            # An object store's client may wrap what the query raised; the query's own error is the one to tell.
            if counted.failure is not None and counted.failure is not error:
                raise counted.failure from None
            raise
        if run.cancelled:
            self._results.delete(key)
            raise Cancelled("The job was stopped.")
        result = JobResult(
            "result", key, produced.mime, f"result.{produced.extension}", counted.size, counted.sha256.hexdigest()
        )
        try:
            completed = self._written(lambda: self._complete(run, result))
        except TooLarge:
            self._results.delete(key)
            raise
        if not completed:
            # The lease was lost meanwhile: another attempt owns the job, and this one's bytes are nobody's.
            self._results.delete(key)
            return
        for attempt in range(1, run.claim.attempt):  # what workers left that died while they wrote
            self._results.delete_prefix(f"{run.job.folder}/{attempt}/")

    def _complete(self, run: Run, result: JobResult) -> bool:
        """Whether the result is published now; raises TooLarge where others of the owner's took the room meanwhile."""
        if self._room(run.job)[1] is None:
            return self._jobs.complete(run.claim, [result])
        with self._jobs.completing():
            room, refusal = self._room(run.job)
            if refusal is not None and room is not None and result.size > room:
                raise refusal
            return self._jobs.complete(run.claim, [result])

    def _room(self, job: Job) -> tuple[int | None, TooLarge | None]:
        """Bytes that the job's result may have, and what to say where it has more."""
        quota = self._quota_of(job.counted_for) if self._quota_of is not None else None
        if quota is None or quota.result_bytes is None:
            return None, None
        use = self._jobs.use(job.counted_for)
        return max(0, quota.result_bytes - use.result_bytes), no_room_left(quota, use)

    def _written[T](self, write: Callable[[], T]) -> T:
        """*write*'s answer, tried again for as long as the lease while the state database is away: the work is done."""
        end = time.monotonic() + self._settings.lease_s
        while True:
            try:
                return write()
            except StoreUnavailable:
                if time.monotonic() >= end or self._stopping.wait(_AGAIN_S):
                    raise

    def _end_badly(self, run: Run, error: Exception) -> None:
        try:
            self._settle(run, error)
        except Exception:
            # The state database is away: the lease runs out and the job is begun again.
            log.exception("could not record how job %s ended", run.job.id)

    def _settle(self, run: Run, error: Exception) -> None:
        if run.stop_reason == "gone":
            return  # whoever aborted or deleted it has written the end already
        if run.stop_reason == "shutdown":
            self._jobs.give_back(run.claim)
            return
        if run.stop_reason == "timeout":
            self._written(lambda: self._jobs.fail(run.claim, _timeout_error(run.duration_s), Phase.ABORTED))
            return
        shown = as_user_error(_storage_error(error), f"job {run.job.id}")
        transient = shown.status >= 500
        self._written(lambda: self._jobs.fail(run.claim, JobError(shown.text, transient, shown.code)))


def _timeout_error(duration_s: int) -> JobError:
    return JobError(
        f"The job ran longer than its execution duration. Given: {duration_s} s. "
        "Ask for less, or set a longer executionduration before starting it again.",
        code="timeout",
    )


def _storage_error(error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceExhausted(
            "There is no room on disk for this result.",
            next_step="Ask for fewer rows or columns, delete old jobs, or tell the operator.",
        )
    return error


class _Counted:
    """Chunks on their way to the store, counted and hashed; *refusal* is raised where they are more than *room*."""

    def __init__(self, chunks: Iterator[bytes], room: int | None, refusal: Exception | None) -> None:
        self._chunks = chunks
        self._room, self._refusal = room, refusal
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks:
                self.size += len(chunk)
                if self._refusal is not None and self._room is not None and self.size > self._room:
                    raise self._refusal
                self.sha256.update(chunk)
                yield chunk
        except Exception as error:
            self.failure = error
            raise
