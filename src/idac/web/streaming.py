"""Answers made while they are sent: the work stops when its reader goes away, and a broken one never looks whole."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

#: Seconds between two cancels of work whose client is gone: one may come before there is anything to be cancelled.
CANCEL_AGAIN_S = 0.2


class Work(Protocol):
    """A running piece of work whose answer is bytes. ``cancel`` may come from any thread, more than once."""

    def chunks(self) -> Iterator[bytes]: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


async def run_for_client[T](
    request: Request, work: Callable[[], T], cancel: Callable[[], None], limiter: anyio.CapacityLimiter
) -> T:
    """*work*'s result, from a thread; *cancel* is called if the client goes away first (ClientDisconnect is raised).

    The body must have been read: whatever ``receive`` says next is then the end of the connection.
    """
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        await _cancel_until_stopped(cancel)

    # A plain task, since a task group costs a small query a twentieth of its time.
    watcher = asyncio.ensure_future(watch())
    try:
        result = await anyio.to_thread.run_sync(work, limiter=limiter)
    except Exception as error:
        if gone:
            raise ClientDisconnect from error
        raise
    finally:
        watcher.cancel()
        await asyncio.wait((watcher,))
    if gone:
        _close_quietly(result)
        raise ClientDisconnect
    return result


async def _cancel_until_stopped(cancel: Callable[[], None]) -> None:
    """Cancel again and again; the scope that this runs in ends when the work has."""
    while True:
        await anyio.to_thread.run_sync(cancel)
        await anyio.sleep(CANCEL_AGAIN_S)


def _close_quietly(result: object) -> None:
    close = getattr(result, "close", None)
    if callable(close):
        close()


class StreamedAnswer(Response):
    """Sends *first* and the rest of *work*'s chunks; closes the work whatever happens.

    *first* was made before the status line, so an error that shows at once still gets its own status and face. After
    that an error ends the connection without the final chunk (HTTP's own mark of a broken body), unless the format
    has a word for it and *work* sends that.
    """

    def __init__(
        self,
        work: Work,
        first: bytes,
        rest: Iterator[bytes],
        *,
        media_type: str,
        headers: Mapping[str, str],
        stall_timeout_s: float,
        limiter: anyio.CapacityLimiter,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.work = work
        self.first = first
        self.rest = rest
        self.stall_timeout_s = stall_timeout_s
        self.limiter = limiter
        self.gone = False
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            await self._send_all(receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._finish)

    async def _send_all(self, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, receive)
            try:
                await self._pump(send)
            except Exception as error:  # noqa: BLE001  raised again below, outside the task group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            # A client that goes away is no fault of ours, whatever the stopped work says of being stopped.
            if self.gone:
                raise ClientDisconnect from failure
            raise failure

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        await _cancel_until_stopped(self.work.cancel)

    async def _pump(self, send: Send) -> None:
        chunk: bytes | None = self.first
        while chunk is not None:
            with anyio.fail_after(self.stall_timeout_s):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await anyio.to_thread.run_sync(self._next, limiter=self.limiter)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _next(self) -> bytes | None:
        return next(self.rest, None)

    def _finish(self) -> None:
        self.work.cancel()
        self.work.close()


@dataclass(frozen=True)
class Started:
    """The beginning of an answer: *rest* is None where *first* is all of it, and the work is closed already."""

    work: Work
    first: bytes
    rest: Iterator[bytes] | None

    def close(self) -> None:
        if self.rest is not None:
            self.work.cancel()
            self.work.close()

    def response(
        self,
        *,
        media_type: str,
        headers: Mapping[str, str],
        stall_timeout_s: float,
        limiter: anyio.CapacityLimiter,
    ) -> Response:
        """The answer to send: a small one at once and with its length, a large one as it is made."""
        if self.rest is None:
            return Response(self.first, headers=headers, media_type=media_type)
        return StreamedAnswer(
            self.work,
            self.first,
            self.rest,
            media_type=media_type,
            headers=headers,
            stall_timeout_s=stall_timeout_s,
            limiter=limiter,
        )


def start_stream(work: Work, gather_bytes: int = 65536, gather_s: float = 0.25) -> Started:
    """Begin an answer: gather its first bytes, for a moment, so that a small one is made in one go.

    Whatever fails in this time still gets a status and an error face of its own. Closes *work* where it fails or ends.
    """
    try:
        chunks = work.chunks()
        parts: list[bytes] = []
        size = 0
        begun = time.monotonic()
        while size < gather_bytes and (size == 0 or time.monotonic() - begun < gather_s):
            chunk = next(chunks, None)
            if chunk is None:
                work.close()
                return Started(work, b"".join(parts), None)
            parts.append(chunk)
            size += len(chunk)
        return Started(work, b"".join(parts), chunks)
    except BaseException:
        work.close()
        raise
