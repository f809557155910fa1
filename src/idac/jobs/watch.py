"""Waiting for phases: one query a look for all waiting requests of a process, and nothing while nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from idac.core.errors import UserError
from idac.jobs.model import ACTIVE, Phase

log = logging.getLogger(__name__)

#: Seconds between two looks, however often phases change in this process.
_PAUSE_S = 0.02

type ReadPhases = Callable[[Collection[str]], Awaitable[Mapping[str, Phase]]]


class PhaseWatch:
    """Requests with WAIT sleep here. *read* tells the phases of many jobs at once.

    A single task polls while anyone waits: a thousand waiting clients cost the state database one query a look. What
    changes in this very process is told by ``look``, so that the client of a short job need not wait for the next poll.
    """

    def __init__(self, read: ReadPhases, poll_s: float) -> None:
        self._read = read
        self._poll_s = poll_s
        self._waiting: dict[str, list[tuple[Phase, asyncio.Event]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look = asyncio.Event()

    def look(self) -> None:
        """Look again soon: a phase has changed. From any thread."""
        if self._waiting and self._loop is not None:
            # A loop that has ended meanwhile has nobody waiting any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._look.set)

    async def wait(self, job_id: str, known: Phase, timeout_s: float) -> None:
        """Return when the job's phase is no longer *known*, or it is gone, or after *timeout_s*."""
        if known not in ACTIVE or timeout_s <= 0:
            return
        changed = asyncio.Event()
        entry = (known, changed)
        self._waiting.setdefault(job_id, []).append(entry)
        if self._task is None or self._task.done():
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._poll())
        try:
            await asyncio.wait_for(changed.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            entries = self._waiting.get(job_id, [])
            if entry in entries:
                entries.remove(entry)
            if not entries:
                self._waiting.pop(job_id, None)

    async def _poll(self) -> None:
        while self._waiting:
            self._look.clear()
            try:
                phases = await self._read(tuple(self._waiting))
            except UserError as error:
                log.warning("could not look at waiting jobs: %s", error)
            else:
                self._tell(phases)
            await asyncio.sleep(_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), max(0.0, self._poll_s - _PAUSE_S))

    def _tell(self, phases: Mapping[str, Phase]) -> None:
        for job_id, entries in self._waiting.items():
            for known, changed in entries:
                if phases.get(job_id) != known:
                    changed.set()
