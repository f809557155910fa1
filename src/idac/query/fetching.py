"""Files by HTTP from addresses that callers name, without lending them this server's place in the network."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from idac.core.errors import BadData, BadParameter, Cancelled, TooLarge, UserError
from idac.query.settings import UploadSettings

MAX_REDIRECTS = 5
#: Seconds of silence that end a connection, where the whole time is longer.
_SILENCE_S = 30.0
#: Seconds between looks at whether the query was stopped.
_LOOK_S = 0.05
#: What may be asked of a body: readers unpack gzip themselves, within bounds.
_ENCODINGS = ("", "identity", "gzip", "x-gzip")

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
        """Write the file at *uri* to *target*, or raise within the time, or once *cancelled*, whatever the host does.

        A host may keep each single wait short and the whole endless. So a thread of its own talks to it, and where that
        must end its connections are cut; a name service that does not answer holds that thread, and not the caller.
        """
        deadline = time.monotonic() + self._settings.uri_timeout_s
        line = _Line()
        threading.Thread(target=self._talk, args=(uri, target, line), name="fetch-upload", daemon=True).start()
        while not line.ended.wait(_LOOK_S):
            if cancelled():
                line.cut()
                raise Cancelled("The query was stopped.")
            if time.monotonic() > deadline:
                line.cut()
                raise _not_fetched(uri, f"not complete after {self._settings.uri_timeout_s:g} s")
        if cancelled():
            raise Cancelled("The query was stopped.")
        if line.failure is not None:
            raise line.failure

    def _talk(self, uri: str, target: Path, line: _Line) -> None:
        try:
            self._follow(uri, target, line)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            line.failure = error
        finally:
            line.end()

    def _follow(self, uri: str, target: Path, line: _Line) -> None:
        timeout = httpx.Timeout(min(_SILENCE_S, self._settings.uri_timeout_s))
        with httpx.Client(trust_env=False, follow_redirects=False, timeout=timeout) as client:
            for _ in range(MAX_REDIRECTS + 1):
                try:
                    redirect = self._get(client, uri, target, line)
                except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
                    raise _not_fetched(uri, "no answer from this address") from error
                if redirect is None:
                    return
                uri = redirect
        raise _not_fetched(uri, f"more than {MAX_REDIRECTS} redirects")

    def _get(self, client: httpx.Client, uri: str, target: Path, line: _Line) -> str | None:
        """Follow one address: None when its file is written, else where it redirects to."""
        url, host, address = self._admit(uri)
        line.require_open()
        pinned = url.copy_with(host=str(address))
        headers = {"host": url.netloc.decode("ascii"), "accept-encoding": "identity"}
        extensions = {"sni_hostname": host, "trace": line.trace}
        with client.stream("GET", pinned, headers=headers, extensions=extensions) as response:
            if response.has_redirect_location:
                return str(url.join(response.headers["location"]))
            if response.status_code != 200:
                raise _not_fetched(uri, f"HTTP status {response.status_code}")
            encoding = response.headers.get("content-encoding", "").strip().lower()
            if encoding not in _ENCODINGS:
                raise _not_fetched(uri, f"the host sends it packed as {encoding}, which was not asked for")
            self._save(response.iter_raw(), uri, target, line)
        return None

    def _save(self, pieces: Iterable[bytes], uri: str, target: Path, line: _Line) -> None:
        size = 0
        limit = self._settings.max_uri_bytes
        with target.open("wb") as file:
            for piece in pieces:
                line.require_open()
                size += len(piece)
                if size > limit:
                    raise TooLarge(
                        "The upload is too large.",
                        value=_shown(uri),
                        allowed=f"{limit} bytes (query.uploads.max_uri_bytes)",
                        next_step="Select the columns and rows you need before uploading.",
                    )
                file.write(piece)

    def _admit(self, uri: str) -> tuple[httpx.URL, str, Address]:
        try:
            parts = urlsplit(uri)
            if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.username is not None:
                raise _not_admitted("The upload's address is of a kind that is not fetched.", uri)
            port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
            url = httpx.URL(urlunsplit(parts._replace(fragment="")))
        except (ValueError, httpx.InvalidURL) as error:
            raise _not_admitted("The upload's address can't be read.", uri) from error
        host = url.raw_host.decode("ascii")
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


class _Line:
    """What one fetch has open, so that whoever waits for it can end it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._is_cut = False
        self._sockets: list[socket.socket] = []

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Told by the HTTP library of each step; a connection is noted before TLS and anything is said over it."""
        if event != "connection.connect_tcp.complete":
            return
        connection = info["return_value"].get_extra_info("socket")
        with self._lock:
            # TLS takes the socket's descriptor over, and a copy of it stays good for ending the connection.
            self._sockets.append(connection.dup())
            if self._is_cut:
                # Raising here would lose the connection, which the library has not taken yet and would never close.
                self._end_connections()

    def require_open(self) -> None:
        if self._is_cut:
            raise ConnectionAbortedError

    def cut(self) -> None:
        """End the connections, which wakes whoever waits for them."""
        with self._lock:
            self._is_cut = True
            self._end_connections()

    def _end_connections(self) -> None:
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets.clear()
        self.ended.set()


def _matches(entry: str, host: str, address: Address) -> bool:
    if entry == host or (entry.startswith(".") and host.endswith(entry)):
        return True
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _not_admitted(what: str, uri: str) -> BadParameter:
    return BadParameter(
        what,
        value=_shown(uri),
        allowed="http:// and https:// addresses without user name, or param: for a file in the request",
    )


def _not_fetched(uri: str, why: str) -> UserError:
    return BadData(
        "The upload could not be fetched.",
        value=f"{_shown(uri)}: {why}",
        next_step="Check that the address opens from anywhere, or send the table in the request.",
    )


def _shown(uri: str) -> str:
    """*uri* without user information and query, which may hold somebody's secrets."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        scheme, sign, rest = uri.partition("?")[0].partition("//")
        return f"{scheme}{sign}{rest.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
