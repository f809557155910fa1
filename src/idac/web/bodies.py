"""Request bodies into parameters and files: fields bounded in memory, files streamed to disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from idac.core.errors import BadParameter, TooLarge
from idac.web.parameters import Parameters, UploadedFile

#: A part may not open a request with megabytes of headers.
MAX_PART_HEADER_BYTES = 16 * 1024
#: More fields than any protocol here has; the same bound keeps parse_qsl from being used to burn time.
MAX_FIELDS = 2000


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may hold; its whole size is the route's policy."""

    max_form_bytes: int
    max_files: int


@asynccontextmanager
async def read_parameters(request: Request, limits: BodyLimits, spool: Path) -> AsyncIterator[Parameters]:
    """Parameters of the URL and the body; uploaded files stay on disk, under *spool*, until the context ends."""
    pairs = parse_form(request.scope.get("query_string", b"").decode("latin-1"), limits)
    if request.method not in ("POST", "PUT"):
        yield Parameters.of(pairs)
        return
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        folder = Path(await anyio.to_thread.run_sync(_make_folder, spool))
        try:
            form = _Multipart(options.get(b"boundary", b""), limits, folder)
            await form.feed(request)
            yield Parameters.of([*pairs, *form.pairs], form.files)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        return
    body = await _read_bounded(request, limits.max_form_bytes)
    if body and kind not in (b"application/x-www-form-urlencoded", b""):
        raise BadParameter(
            "The request body has a type that is not read here.",
            value=kind.decode("latin-1"),
            allowed="application/x-www-form-urlencoded, multipart/form-data",
            next_step="Send parameters as form fields and tables as files of a multipart form.",
        )
    yield Parameters.of([*pairs, *parse_form(body.decode("latin-1"), limits)])


def parse_form(text: str, limits: BodyLimits) -> list[tuple[str, str]]:
    """``a=1&b=2`` to pairs; percent escapes are UTF-8."""
    if len(text) > limits.max_form_bytes:
        raise _form_too_large(limits)
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError as error:
        raise BadParameter(
            "A parameter is not UTF-8 text.", allowed="percent-encoded UTF-8", next_step="Check the client's encoding."
        ) from error
    except ValueError as error:
        raise BadParameter("The request has too many parameters.", allowed=f"{MAX_FIELDS} fields") from error


def _make_folder(spool: Path) -> str:
    spool.mkdir(parents=True, exist_ok=True)
    return tempfile.mkdtemp(prefix="request-", dir=spool)


async def _read_bounded(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _form_too_large(BodyLimits(limit, 0))
        parts.append(chunk)
    return b"".join(parts)


def _form_too_large(limits: BodyLimits) -> TooLarge:
    return TooLarge(
        "The request's parameters are too large.",
        value=f"more than {limits.max_form_bytes} bytes",
        allowed=f"{limits.max_form_bytes} bytes of parameters (server.max_form_bytes)",
        next_step="Upload long lists as a table (UPLOAD) and join it in the query.",
    )


class _Multipart:
    """The multipart form under way: fields gathered in memory, files written as they come."""

    def __init__(self, boundary: bytes, limits: BodyLimits, folder: Path) -> None:
        if not boundary:
            raise _bad_multipart("it names no boundary")
        self.pairs: list[tuple[str, str]] = []
        self.files: dict[str, UploadedFile] = {}
        self._limits = limits
        self._folder = folder
        self._field_bytes = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value: bytearray | None = None
        self._file: BinaryIO | None = None
        self._open: UploadedFile | None = None
        self._writes: list[tuple[BinaryIO, bytes]] = []
        self._closes: list[BinaryIO] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                },
            )
        except FormParserError as error:
            raise _bad_multipart("its boundary is too long") from error

    async def feed(self, request: Request) -> None:
        try:
            async for chunk in request.stream():
                self._parser.write(chunk)
                if self._writes or self._closes:
                    await anyio.to_thread.run_sync(self._flush)
            self._parser.finalize()
        except FormParserError as error:
            raise _bad_multipart("it is cut short or malformed") from error
        finally:
            for file in (self._file, *self._closes):
                if file is not None:
                    file.close()
        if self._open is not None or self._value is not None:
            raise _bad_multipart("it ends in the middle of a part")

    def _flush(self) -> None:
        for file, data in self._writes:
            file.write(data)
        for file in self._closes:
            file.close()
        self._writes.clear()
        self._closes.clear()

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._bound_header()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._bound_header()

    def _bound_header(self) -> None:
        if len(self._header_name) + len(self._header_value) > MAX_PART_HEADER_BYTES:
            raise _bad_multipart("a part's header is too long")

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise _bad_multipart("a part has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        if b"filename" not in options:
            self._value = bytearray()
            return
        if len(self.files) >= self._limits.max_files:
            raise TooLarge(
                "The request carries too many files.",
                value=f"more than {self._limits.max_files}",
                allowed=f"{self._limits.max_files} files (server.max_upload_files)",
            )
        path = self._folder / f"part-{len(self.files)}"
        content_type = self._headers.get(b"content-type")
        self._file = path.open("wb")
        self._open = UploadedFile(
            self._name,
            options[b"filename"].decode("utf-8", "replace"),
            content_type.decode("latin-1") if content_type else None,
            path,
            0,
        )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None and self._open is not None:
            self._writes.append((self._file, data[start:end]))
            opened = self._open
            self._open = UploadedFile(
                opened.field_name, opened.filename, opened.content_type, opened.path, opened.size + end - start
            )
        elif self._value is not None:
            self._field_bytes += end - start
            if self._field_bytes > self._limits.max_form_bytes:
                raise _form_too_large(self._limits)
            self._value += data[start:end]

    def _on_part_end(self) -> None:
        if self._file is not None and self._open is not None:
            self._closes.append(self._file)
            self.files[self._name] = self._open
        elif self._value is not None:
            if len(self.pairs) >= MAX_FIELDS:
                raise BadParameter("The request has too many parameters.", allowed=f"{MAX_FIELDS} fields")
            try:
                self.pairs.append((self._name, self._value.decode("utf-8")))
            except UnicodeDecodeError as error:
                raise BadParameter("A parameter is not UTF-8 text.", value=self._name, allowed="UTF-8") from error
        self._file = self._open = self._value = None


def _bad_multipart(why: str) -> BadParameter:
    return BadParameter("The multipart form can't be read.", value=why, allowed="multipart/form-data as in RFC 7578")
