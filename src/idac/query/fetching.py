"""Files by HTTP from addresses that callers name, without lending them this server's place in the network."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx

from idac.core.errors import BadData, BadParameter, Cancelled, TooLarge, UserError
from idac.query.settings import UploadSettings

MAX_REDIRECTS = 5
_CHUNK = 256 * 1024

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Resolve = Callable[[str, int], list[Address]]


def resolve_host(host: str, port: int) -> list[Address]:
    """All addresses of *host*, in the system's order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


def is_public(address: Address) -> bool:
    """True for an address of the open internet; false for one that wraps another, whatever that is.

    Loopback, link-local (cloud metadata services live there), private, shared, multicast and reserved addresses are
    not public. IPv6 forms that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) would lead around this check.
    """
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None
        or address.sixtofour is not None
        or address.teredo is not None
        or address in _NAT64
        or address.is_site_local
    ):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class UriFetcher:
    """Fetches ``http`` and ``https`` addresses to files, bounded in size and time.

    A name is resolved once and the connection goes to that very address, so that an answer of the name service that
    changes between check and use can't lead inside. Every redirect is checked like the first address.
    """

    def __init__(self, settings: UploadSettings, resolve: Resolve = resolve_host) -> None:
        self._settings = settings
        self._resolve = resolve

    def fetch(self, uri: str, target: Path, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Write the file at *uri* to *target*."""
        deadline = time.monotonic() + self._settings.uri_timeout_s
        timeout = httpx.Timeout(min(30.0, self._settings.uri_timeout_s))
        with httpx.Client(trust_env=False, follow_redirects=False, timeout=timeout) as client:
            for _ in range(MAX_REDIRECTS + 1):
                try:
                    redirect = self._get(client, uri, target, deadline, cancelled)
                except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
                    raise _not_fetched(uri, "no answer from this address") from error
                if redirect is None:
                    return
                uri = redirect
        raise _not_fetched(uri, f"more than {MAX_REDIRECTS} redirects")

    def _get(
        self, client: httpx.Client, uri: str, target: Path, deadline: float, cancelled: Callable[[], bool]
    ) -> str | None:
        """Follow one address: None when its file is written, else where it redirects to."""
        url, host, address = self._admit(uri)
        pinned = url.copy_with(host=str(address))
        headers = {"host": url.netloc.decode("ascii"), "accept-encoding": "identity"}
        with client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": host}) as response:
            if response.is_redirect:
                return str(url.join(response.headers["location"]))
            if response.status_code != 200:
                raise _not_fetched(uri, f"HTTP status {response.status_code}")
            self._save(response.iter_bytes(_CHUNK), uri, target, deadline, cancelled)
        return None

    def _save(
        self, chunks: Iterable[bytes], uri: str, target: Path, deadline: float, cancelled: Callable[[], bool]
    ) -> None:
        size = 0
        limit = self._settings.max_uri_bytes
        with target.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(
                        "The upload is too large.",
                        value=_shown(uri),
                        allowed=f"{limit} bytes (query.uploads.max_uri_bytes)",
                        next_step="Select the columns and rows you need before uploading.",
                    )
                if time.monotonic() > deadline:
                    raise _not_fetched(uri, f"not complete after {self._settings.uri_timeout_s:g} s")
                if cancelled():
                    raise Cancelled("The query was stopped.")
                file.write(chunk)

    def _admit(self, uri: str) -> tuple[httpx.URL, str, Address]:
        parts = urlsplit(uri)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise BadParameter(
                "The upload's address is of a kind that is not fetched.",
                value=_shown(uri),
                allowed="http:// and https:// addresses without user name, or param: for a file in the request",
            )
        url = httpx.URL(urlunsplit(parts._replace(fragment="")))
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = self._resolve(host.strip("[]"), port)
        for address in addresses:
            if not is_public(address) and not self._is_listed(host.lower(), address):
                raise BadParameter(
                    "The upload's address is not a public one.",
                    value=_shown(uri),
                    allowed="public internet addresses, and hosts that the operator lists (query.uploads.allow_hosts)",
                    next_step="Send the table in the request instead (UPLOAD=name,param:field).",
                )
        if not addresses:
            raise _not_fetched(uri, "no answer from this address")
        return url, host.strip("[]"), addresses[0]

    def _is_listed(self, host: str, address: Address) -> bool:
        return any(_matches(entry.lower(), host, address) for entry in self._settings.allow_hosts)


def _matches(entry: str, host: str, address: Address) -> bool:
    if entry == host or (entry.startswith(".") and host.endswith(entry)):
        return True
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _not_fetched(uri: str, why: str) -> UserError:
    return BadData(
        "The upload could not be fetched.",
        value=f"{_shown(uri)}: {why}",
        next_step="Check that the address opens from anywhere, or send the table in the request.",
    )


def _shown(uri: str) -> str:
    """*uri* without user information and query, which may hold somebody's secrets."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
