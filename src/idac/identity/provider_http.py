"""What an identity provider answers, bounded in time and size: it is trusted for its word, not for its health."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import anyio
import httpx

from idac.core.errors import Busy
from idac.identity.settings import require_safe_url

log = logging.getLogger(__name__)

#: Bytes of an answer. Discovery documents and key sets have some thousands; people in hundreds of groups have more.
MOST_BYTES = 512 * 1024


class ProviderUnavailable(Busy):
    """The identity provider does not answer, or not with what it should."""


async def fetch_object(
    method: str,
    url: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    refusals: bool = False,
) -> dict[str, Any]:
    """The JSON object at *url*; ProviderUnavailable for anything else.

    With *refusals*, the object that comes with status 400 or 401 too. Redirects are not followed: no address of a
    provider needs one, and a secret that is sent must not go anywhere else.
    """
    found = await _fetch_json(method, url, timeout_s, headers or {}, body, refusals)
    if not isinstance(found, dict):
        raise _unavailable(url, "no JSON object")
    return found


async def fetch_list(url: str, *, timeout_s: float, headers: Mapping[str, str]) -> list[Any]:
    """The JSON list at *url*; ProviderUnavailable for anything else."""
    found = await _fetch_json("GET", url, timeout_s, headers, None, False)
    if not isinstance(found, list):
        raise _unavailable(url, "no JSON list")
    return found


async def _fetch_json(
    method: str, url: str, timeout_s: float, headers: Mapping[str, str], body: str | None, refusals: bool
) -> object:
    try:
        require_safe_url(url)
    except ValueError:
        raise _unavailable(url, "no https address") from None
    try:
        with anyio.fail_after(timeout_s):
            status, content = await _fetch(method, url, headers, body)
        if status != 200 and not (refusals and status in (400, 401)):
            raise _unavailable(url, f"status {status}")
        return json.loads(content)
    except TimeoutError:
        raise _unavailable(url, f"no answer in {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _unavailable(url, "no connection") from error
    except (ValueError, RecursionError) as error:
        raise _unavailable(url, "no JSON") from error


async def _fetch(method: str, url: str, headers: Mapping[str, str], body: str | None) -> tuple[int, bytes]:
    # Uncompressed, so that a small answer can't become a huge one in memory.
    sent = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "idac", **headers}
    async with (
        httpx.AsyncClient(verify=_tls(), trust_env=False, follow_redirects=False, timeout=None) as client,  # noqa: S113
        client.stream(method, url, headers=sent, content=body) as answer,
    ):
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise _unavailable(url, "a compressed answer that was not asked for")
        content = b""
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > MOST_BYTES:
                raise _unavailable(url, f"more than {MOST_BYTES} bytes")
        return answer.status_code, content


@cache
def _tls() -> ssl.SSLContext:
    """Certificates of the usual authorities, or of SSL_CERT_FILE for an institute with its own."""
    return httpx.create_ssl_context(trust_env=True)


def _unavailable(url: str, why: str) -> ProviderUnavailable:
    # The address is for the operator; people are told by the page which provider they chose.
    log.warning("an identity provider does not answer as it should", extra={"url": url.partition("?")[0], "why": why})
    return ProviderUnavailable(
        "The identity provider does not answer as it should.",
        value=why,
        next_step="Try again in a minute, or log in another way; if it lasts, tell the operator.",
    )
