"""What every folder's routes share: addresses, bounds, threads and scratch space, made once from ``server``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from idac.web.bodies import BodyLimits
from idac.web.settings import ServerSettings
from idac.web.urls import PublicUrl


@dataclass(frozen=True)
class WebContext:
    """Shared by all routes of a process. *spool* is a scratch folder of this machine."""

    settings: ServerSettings
    spool: Path
    urls: PublicUrl = field(init=False)
    limits: BodyLimits = field(init=False)
    #: For work that ends soon: pages, look-ups, the next piece of an answer.
    threads: anyio.CapacityLimiter = field(init=False)
    #: For requests about jobs, which wait for the state database: answers must go on while it is locked.
    state: anyio.CapacityLimiter = field(init=False)
    #: For queries that wait for their turn. Threads of their own, since those that wait must not keep others from work.
    waiting: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "urls", PublicUrl(self.settings.public_url))
        limits = BodyLimits(self.settings.max_form_bytes, self.settings.max_upload_files)
        object.__setattr__(self, "limits", limits)
        object.__setattr__(self, "threads", anyio.CapacityLimiter(self.settings.worker_threads))
        object.__setattr__(self, "state", anyio.CapacityLimiter(self.settings.worker_threads))
        object.__setattr__(self, "waiting", anyio.CapacityLimiter(self.settings.waiting_requests))

    @property
    def max_body_bytes(self) -> int:
        """Bytes of a body that may carry uploads: multipart framing comes on top of the files."""
        return self.settings.max_upload_bytes + self.settings.max_form_bytes

    async def in_thread[T](self, work: Callable[[], T]) -> T:
        """*work*'s result, from one of the threads for requests that wait."""
        return await anyio.to_thread.run_sync(work, limiter=self.threads)

    async def in_state_thread[T](self, work: Callable[[], T]) -> T:
        """*work*'s result, from one of the threads for requests that wait for the state database."""
        return await anyio.to_thread.run_sync(work, limiter=self.state)
