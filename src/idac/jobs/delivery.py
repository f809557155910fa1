"""Results out of an object store through this service, with Range, for clients that can't reach the store."""

from __future__ import annotations

import re
from collections.abc import Mapping

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from idac.core.store import Store
from idac.jobs.model import JobResult

_CHUNK = 4 * 1024 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last, for a single range (RFC 9110 section 14.1.2); None for the whole.

    Several ranges, other units and malformed ones are answered with the whole, as the RFC allows. An unsatisfiable
    range gives an empty pair, (size, size).
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) else (size, size)
    if last and int(last) < int(first):
        return None
    return min(int(first), size), min(int(last) + 1, size) if last else size


class StoredResponse(Response):
    """A result read from *store* chunk by chunk while it is sent."""

    def __init__(self, store: Store, result: JobResult, headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = result.mime
        self._store = store
        self._result = result
        self.init_headers({**headers, "accept-ranges": "bytes"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = self._result.size
        wanted = parse_range(Headers(scope=scope).get("range"), size)
        start, end = wanted or (0, size)
        if wanted is not None:
            self.status_code = 206 if start < end else 416
            self.headers["content-range"] = f"bytes {start}-{end - 1}/{size}" if start < end else f"bytes */{size}"
        self.headers["content-length"] = str(end - start)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            while start < end:
                length = min(_CHUNK, end - start)
                data = await anyio.to_thread.run_sync(self._store.read_range, self._result.key, start, length)
                await send({"type": "http.response.body", "body": data, "more_body": True})
                start += length
        await send({"type": "http.response.body", "body": b"", "more_body": False})
