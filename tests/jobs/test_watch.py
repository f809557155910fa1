"""Waiting costs one look for all who wait, and nothing when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from idac.jobs.model import Phase
from idac.jobs.watch import PhaseWatch


class Phases:
    def __init__(self) -> None:
        self.now = {"a": Phase.EXECUTING, "b": Phase.EXECUTING}
        self.looks: list[frozenset[str]] = []
        self.looked = asyncio.Event()

    async def read(self, ids: Collection[str]) -> Mapping[str, Phase]:
        self.looks.append(frozenset(ids))
        self.looked.set()
        return {job_id: self.now[job_id] for job_id in ids if job_id in self.now}


def test_a_hundred_waiting_requests_share_each_look() -> None:
    async def scene() -> Phases:
        phases = Phases()
        watch = PhaseWatch(phases.read, 0.001)
        waits = [asyncio.create_task(watch.wait("a" if n % 2 else "b", Phase.EXECUTING, 60)) for n in range(100)]
        await phases.looked.wait()
        phases.now = {"a": Phase.COMPLETED}  # b was deleted
        await asyncio.gather(*waits)
        looks = len(phases.looks)
        assert all(look <= {"a", "b"} for look in phases.looks)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(phases.looks) <= looks + 1
        return phases

    phases = asyncio.run(scene())
    assert phases.looks[0] == {"a", "b"}


def test_waiting_ends_with_its_time() -> None:
    phases = Phases()

    async def scene() -> None:
        await PhaseWatch(phases.read, 0.001).wait("a", Phase.EXECUTING, 0.01)

    asyncio.run(scene())
    assert phases.now["a"] == Phase.EXECUTING


def test_an_ended_job_is_not_waited_for() -> None:
    phases = Phases()
    asyncio.run(PhaseWatch(phases.read, 0.001).wait("a", Phase.COMPLETED, 60))
    assert phases.looks == []


def test_a_change_in_this_process_is_seen_before_the_next_poll() -> None:
    async def scene() -> None:
        phases = Phases()
        watch = PhaseWatch(phases.read, 3600)
        wait = asyncio.create_task(watch.wait("a", Phase.EXECUTING, 60))
        await phases.looked.wait()
        phases.now["a"] = Phase.COMPLETED
        await asyncio.to_thread(watch.look)
        await asyncio.wait_for(wait, 30)
        assert len(phases.looks) == 2

    asyncio.run(scene())


def test_looking_when_nobody_waits_does_nothing() -> None:
    phases = Phases()
    PhaseWatch(phases.read, 3600).look()
    assert phases.looks == []
