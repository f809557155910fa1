"""One error, several faces: VOTable, JSON, plain text and a page, all made here and nowhere else."""

from __future__ import annotations

import errno
import html
import logging
import re
import secrets
from typing import ClassVar, Literal
from xml.sax.saxutils import quoteattr

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from idac.core.errors import StoreUnavailable, TooOften, UserError, with_hidden
from idac.tables.writers.votable import error_document

log = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: ``votable``: DALI's error document. ``cone``: the same with Simple Cone Search's INFO. ``text``: UWS and downloads.
type Face = Literal["votable", "cone", "json", "text"]

#: Seconds a client is asked to wait when the service has too much to do.
RETRY_AFTER_S = 5


class MethodNotAllowed(UserError):
    """The address exists and does not take this HTTP method."""

    code: ClassVar[str] = "method-not-allowed"
    status: ClassVar[int] = 405


class AddressNotFound(UserError):
    """No route has this path."""

    code: ClassVar[str] = "not-found"
    status: ClassVar[int] = 404
    dali: ClassVar[str] = "NotFoundFault"


class ServiceFault(UserError):
    """Something broke inside; the caller gets an id to quote and the log has the rest."""

    code: ClassVar[str] = "fault"
    status: ClassVar[int] = 500
    dali: ClassVar[str] = "Fault"
    exit_code: ClassVar[int] = 1


def fault_from(error: BaseException, where: str) -> ServiceFault:
    """Log *error* under a new id and return the error that may be shown in its place."""
    fault_id = secrets.token_hex(6)
    log.error("fault %s in %s", fault_id, where, exc_info=error)
    return ServiceFault(
        "The service failed.", next_step=f"Try again; if it happens again, send the operator the id {fault_id}."
    )


def as_user_error(error: BaseException, where: str) -> UserError:
    """*error* itself where its text may be shown, else a fault with an id."""
    if isinstance(error, UserError):
        return error
    if _is_full_disk(error):
        log.error("no room on the disk for temporary files, in %s: %s", where, error)
        return StoreUnavailable(
            "The disk for temporary files of this centre is full.",
            next_step="Try again in a minute, with a smaller upload or result if it lasts, and tell the operator.",
        )
    return fault_from(error, where)


def _is_full_disk(error: BaseException) -> bool:
    """True where the error, or one that it hides, is a full disk: libraries stumble once more while they clean up."""
    return any(
        (isinstance(each, OSError) and each.errno in _FULL) or "No space left on device" in str(each)
        for each in with_hidden(error)
    )


def error_response(error: Exception, request: Request, face: Face) -> Response:
    """The answer to a request that failed, in the face that this client can read."""
    shown = as_user_error(error, request.url.path)
    chosen = _negotiate(request.headers.get("accept", ""), face)
    headers = {"cache-control": "no-store", "vary": "Accept"}
    if shown.status in (429, 503):
        wait_s = shown.retry_after_s if isinstance(shown, TooOften) else None
        headers["retry-after"] = str(wait_s or RETRY_AFTER_S)
    if shown.status == 401:
        headers["www-authenticate"] = 'Bearer realm="idac"'
    if chosen == "json":
        return JSONResponse(error_json(shown), status_code=shown.status, headers=headers)
    if chosen == "page":
        return Response(_error_page(shown), shown.status, headers, "text/html")
    if chosen in ("votable", "cone"):
        media_type = "application/x-votable+xml" if chosen == "votable" else "text/xml"
        # Simple Cone Search 2.3 has its errors inside an ordinary answer, and its clients read no other.
        status = 200 if chosen == "cone" and shown.status == 400 else shown.status
        return Response(error_votable(shown.text, cone=chosen == "cone"), status, headers, media_type)
    return Response(f"{shown.dali}: {shown.text}\n", shown.status, headers, "text/plain")


async def http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, in our words and faces."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        allowed = ", ".join(_methods_at(request))
        response = error_response(
            MethodNotAllowed("This address does not take this method.", value=request.method, allowed=allowed or None),
            request,
            "text",
        )
        response.headers["allow"] = allowed
        return response
    if status == 404:
        missing = AddressNotFound(
            "There is nothing at this address.", value=request.url.path, next_step="See / for what this centre offers."
        )
        return error_response(missing, request, "text")
    return error_response(error, request, "text")


def _methods_at(request: Request) -> list[str]:
    """Every method that some route of this path takes."""
    here = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in here for method in getattr(route, "methods", None) or ()})


def error_json(error: UserError) -> dict[str, object]:
    """The JSON face; clients may rely on ``error.code``."""
    parts: dict[str, object] = {
        "code": error.code,
        "message": error.text,
        "what": error.what,
        "value": error.value,
        "allowed": error.allowed,
        "next_step": error.next_step,
    }
    if error.position:
        parts |= {"line": error.position.line, "column": error.position.column}
    return {"error": {name: part for name, part in parts.items() if part is not None}}


def error_votable(text: str, *, cone: bool = False) -> bytes:
    """A VOTable that says ERROR as DALI 1.1 section 4.4 asks; with *cone* also as Simple Cone Search 2.3 does."""
    document = error_document(text)
    if not cone:
        return document
    info = f'<INFO ID="Error" name="Error" value={quoteattr(xml_text(text))}/>\n'
    return document.replace(b"<RESOURCE", info.encode() + b"<RESOURCE", 1)


def xml_text(text: str) -> str:
    """*text* without the characters that XML 1.0 cannot carry in any form: queries may hold them."""
    return _NOT_XML.sub("\ufffd", text)


def _negotiate(accept: str, face: Face) -> Literal["votable", "cone", "json", "text", "page"]:
    """The face for this ``Accept``.

    A bare ``text/html`` is no sign of a browser: Java's HTTP client, so STILTS and TOPCAT, sends it by default.
    Browsers name ``application/xhtml+xml`` when a person opens an address.
    """
    if "application/xhtml+xml" in accept:
        return "page"
    if accept.split(",")[0].split(";")[0].strip() == "application/json":
        return "json"
    return face


def is_for_a_person(request: Request) -> bool:
    """True where somebody opens an address in a browser, and can be sent to another."""
    return request.method == "GET" and _negotiate(request.headers.get("accept", ""), "text") == "page"


def _error_page(error: UserError) -> str:
    rows = [("Given", error.value), ("Allowed", error.allowed), ("Next", error.next_step)]
    if error.position:
        rows.insert(0, ("Where", str(error.position)))
    items = "".join(f"<dt>{name}</dt><dd>{html.escape(part)}</dd>" for name, part in rows if part)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Refused</title>'
        "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:45rem;margin:3rem auto;padding:0 1rem}"
        "dt{font-weight:600;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere}</style></head>"
        f"<body><h1>{html.escape(error.what)}</h1><dl>{items}</dl><p>{error.status} · {html.escape(error.code)}</p>"
        "</body></html>"
    )
