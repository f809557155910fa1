"""One machine, several processes of the same service at one address: what Python does in one thread, done in many.

Each process is a whole ``idac up`` with its share of memory and places; they meet in the state database and the archive
alone, as processes on several machines do.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors.multiprocess import Multiprocess

from idac.core.loading import Loaded
from idac.core.log import log_to
from idac.wiring.app import build_centre
from idac.wiring.settings import DacSettings

#: Seconds between two looks of a process at whether the one that started it is still there.
_LOOK_S = 1.0
#: Seconds that a process may be silent before it is taken for stuck and replaced. It says nothing while it starts,
#: which takes a while on a machine that has much else to do: with too few it would be replaced before it ever answers.
_START_S = 120


def serve_in_processes(
    loaded: Loaded[DacSettings],
    listener: socket.socket,
    options: Mapping[str, object],
    answering: Callable[[], None],
) -> None:
    """Serve until told to stop; *answering* is called once every process answers. One that dies is replaced."""
    count = loaded.settings.server.processes
    app = partial(_app, share_of(loaded, count), os.getpid())
    config = uvicorn.Config(
        app,
        factory=True,
        workers=count,
        timeout_worker_healthcheck=_START_S,
        **options,  # type: ignore[arg-type]
    )
    supervisor = _Supervisor(config, [listener], answering)
    supervisor.run()


def share_of(loaded: Loaded[DacSettings], count: int) -> Loaded[DacSettings]:
    """The settings of one of *count* processes that have the machine together."""
    settings = loaded.settings
    engine, jobs = settings.engine, settings.jobs
    shared = {
        "memory_gib": max(0.5, engine.memory_gib / count),
        "kept_gib": engine.kept_gib / count,
        "interactive_places": ceil(engine.interactive_places / count),
        "heavy_places": ceil(engine.heavy_places / count),
        "max_queued": ceil(engine.max_queued / count),
    }
    changed = settings.model_copy(
        update={
            "engine": engine.model_copy(update=shared),
            "jobs": jobs.model_copy(update={"workers": ceil(jobs.workers / count)}),
        }
    )
    return Loaded(changed, loaded.values, loaded.origins, loaded.folder)


def _app(loaded: Loaded[DacSettings], parent: int) -> Starlette:
    """The application, in a process of its own, which ends when its *parent* is gone."""
    log_to()
    threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True).start()
    app = build_centre(loaded).app
    keep_for_good()
    return app


def keep_for_good() -> None:
    """Take everything that the start made out of the collector's rounds: it stays as long as the process does.

    Each full round looked at a quarter of a million objects of libraries and settings, for a tenth of a second in which
    no query was answered.
    """
    gc.freeze()


def _end_with(parent: int) -> None:
    # A parent that is killed can tell nobody, and its processes would hold the address for ever.
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


class _Supervisor(Multiprocess):
    """uvicorn's own, which says when all its processes answer."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], answering: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._answering: Callable[[], None] | None = answering

    def keep_subprocess_alive(self) -> None:
        # In this thread, which is the one that talks with the processes.
        super().keep_subprocess_alive()
        if self._answering is not None and all(process.is_ready() for process in self.processes):
            self._answering()
            self._answering = None
