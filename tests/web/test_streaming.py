"""Answers made while they are sent: work stops with its reader, and a broken answer never looks whole."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from idac.core.errors import BadQuery, Cancelled
from idac.web.app import build_app
from idac.web.routes import Policy, PolicyRoute
from idac.web.streaming import run_for_client, start_stream
from services import http
from services.http_server import serving
from services.waiting import until

OPEN = Policy("open", "text")


@dataclass
class Counted:
    """Chunks of a megabyte until it is cancelled, or breaks after so many."""

    breaks_after: int | None = None
    ends_after: int | None = None
    chunk: bytes = b"x" * 1_000_000
    made: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def chunks(self) -> Iterator[bytes]:
        while self.ends_after is None or self.made < self.ends_after:
            if self.cancelled.is_set():
                raise Cancelled("The query was stopped.")
            if self.made == self.breaks_after:
                raise BadQuery("Division by zero.")
            self.made += 1
            yield self.chunk

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.closed.set()


@dataclass
class Deaf(Counted):
    """Does not hear the first cancel."""

    cancels: int = 0

    def cancel(self) -> None:
        self.cancels += 1
        if self.cancels > 1:
            self.cancelled.set()

    def chunks(self) -> Iterator[bytes]:
        yield self.chunk
        assert self.cancelled.wait(60)
        raise Cancelled("The query was stopped.")


class Scene:
    """A server with one streamed answer and one piece of work that comes before its answer."""

    def __init__(self, work: Counted, stall_timeout_s: float = 60) -> None:
        self.work = work
        self.stall_timeout_s = stall_timeout_s
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self.threads = anyio.CapacityLimiter(4)

    async def stream(self, _request: Request) -> Response:
        return start_stream(self.work).response(
            media_type="text/plain", headers={}, stall_timeout_s=self.stall_timeout_s, limiter=self.threads
        )

    async def compute(self, request: Request) -> Response:
        await run_for_client(request, self._compute, self.stopped.set, self.threads)
        return Response("done")

    def _compute(self) -> Counted:
        self.begun.set()
        assert self.stopped.wait(60)
        return self.work

    def serve(self) -> object:
        routes = [
            PolicyRoute("/stream", self.stream, methods=["GET"], policy=OPEN),
            PolicyRoute("/compute", self.compute, methods=["GET"], policy=OPEN),
        ]
        return serving(build_app(routes))


def test_a_whole_answer_arrives_whole() -> None:
    scene = Scene(Counted(ends_after=3))
    with scene.serve() as url:  # type: ignore[attr-defined]
        assert len(http.get(f"{url}/stream").content) == 3_000_000
        assert scene.work.closed.wait(60)


def test_a_small_answer_is_sent_at_once_with_its_length() -> None:
    scene = Scene(Counted(ends_after=1, chunk=b"ra,dec\n"))
    with scene.serve() as url:  # type: ignore[attr-defined]
        answer = http.get(f"{url}/stream")
    assert (answer.content, answer.headers["content-length"]) == (b"ra,dec\n", "7")
    assert scene.work.closed.is_set()


def test_an_error_before_the_first_byte_has_its_own_status() -> None:
    scene = Scene(Counted(breaks_after=0))
    with scene.serve() as url:  # type: ignore[attr-defined]
        answer = http.get(f"{url}/stream")
    assert (answer.status_code, answer.text) == (400, "UsageFault: Division by zero.\n")
    assert scene.work.closed.is_set()


def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    scene = Scene(Counted(breaks_after=2))
    with scene.serve() as url, pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):  # type: ignore[attr-defined]
        http.get(f"{url}/stream")
    assert scene.work.closed.wait(60)


def test_a_reader_that_goes_away_stops_the_work() -> None:
    scene = Scene(Counted())
    with scene.serve() as url:  # type: ignore[attr-defined]
        with httpx.stream("GET", f"{url}/stream") as answer:
            next(answer.iter_bytes())
        assert scene.work.cancelled.wait(60)
        assert scene.work.closed.wait(60)


def test_a_cancel_that_goes_unheard_is_given_again(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(Deaf())
    with scene.serve() as url, caplog.at_level(logging.INFO, "idac"):  # type: ignore[attr-defined]
        with httpx.stream("GET", f"{url}/stream") as answer:
            next(answer.iter_bytes())
        until(lambda: bool(caplog.records))
        assert scene.work.closed.is_set()
    # A client that goes away is no fault.
    assert [r.message for r in caplog.records] == ["client went away before it had its answer"]


def test_a_reader_that_stops_reading_stops_the_work_too() -> None:
    scene = Scene(Counted(), stall_timeout_s=0.2)
    with scene.serve() as url:  # type: ignore[attr-defined]
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert scene.work.closed.wait(60)


def test_a_client_that_does_not_wait_for_the_answer_stops_the_work() -> None:
    scene = Scene(Counted())
    with scene.serve() as url:  # type: ignore[attr-defined]
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
            connection.sendall(b"GET /compute HTTP/1.1\r\nHost: x\r\n\r\n")
            assert scene.begun.wait(60)
        assert scene.stopped.wait(60)
        assert scene.work.closed.wait(60)  # what it made nevertheless is freed


def test_head_makes_no_more_than_the_beginning() -> None:
    scene = Scene(Counted())
    with scene.serve() as url:  # type: ignore[attr-defined]
        answer = http.head(f"{url}/stream")
    assert (answer.status_code, answer.content) == (200, b"")
    assert scene.work.closed.wait(60)
    assert scene.work.made == 1
