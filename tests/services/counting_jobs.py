"""A tiny real kind of job for the tests: it counts, waits for a word, fails or dies as its parameters say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from idac.core.errors import BadQuery, Cancelled
from idac.core.principal import Principal
from idac.jobs.model import Job, JobProgress, NewJob, StoredFile
from idac.jobs.workers import Produced, RunContext
from idac.web.parameters import Parameters

ANN = Principal("ann", "user", frozenset({"survey"}))
BEN = Principal("ben", "user")


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Counting:
    """Job kind ``count``: writes the numbers up to N. HOLD waits until the test lets go or the job is stopped."""

    name = "count"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = threading.Event()
        self.stopped = threading.Event()
        self.closed = threading.Event()
        self.runs: list[str] = []
        self.holding: list[str] = []

    def take_files(self, job_id: str, parameters: Parameters) -> tuple[StoredFile, ...]:
        return ()

    def run(self, job: Job, context: RunContext) -> Produced:
        values = dict(job.parameters)
        self.runs.append(job.id)
        if "FAIL" in values:
            raise BadQuery("There is no column rra.", value="rra", next_step="Did you mean ra?")
        if "CRASH" in values:
            raise RuntimeError("secret")
        context.report(lambda: JobProgress(0.5, 7))
        return Produced(
            self._count(job.id, int(values.get("N", "3")), "HOLD" in values, context),
            "text/plain",
            "txt",
            self.closed.set,
        )

    def _count(self, job_id: str, n: int, hold: bool, context: RunContext) -> Iterator[bytes]:
        yield b"0\n"
        if hold:
            context.on_cancel(self.stopped.set)
            context.on_cancel(self.go.set)
            self.holding.append(job_id)
            self.running.set()
            assert self.go.wait(60)
            if context.cancelled:
                raise Cancelled("The query was stopped.")
        for number in range(1, n):
            yield f"{number}\n".encode()


def new(owner: Principal = ANN, run_id: str | None = None, **parameters: str) -> NewJob:
    return NewJob("count", owner, tuple(parameters.items()), run_id)
