"""Addresses as people type them, and where a token may be sent: over TLS, or within one machine."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from idac.core.errors import BadParameter

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"https": 443, "http": 80}
_TAP = "/api/tap"


@dataclass(frozen=True, slots=True)
class Address:
    """Scheme, host and port as one text, without the scheme's own port; and the path, without a slash at its end."""

    origin: str
    path: str

    @property
    def is_safe(self) -> bool:
        """True where nobody on the way can read what is sent there."""
        return self.origin.startswith("https://") or _host(self.origin) in _LOOPBACK

    @property
    def tap(self) -> str:
        """The TAP service: the address itself, or that of a centre of which only the address is known."""
        return f"{self.origin}{self.path or _TAP}"


def parse_address(text: str) -> Address:
    """``dac.example.org``, ``https://dac.example.org/api/tap``, ``localhost:8080``; BadParameter for other things."""
    given = text.strip()
    if "://" not in given:
        given = f"{'http' if _host(f'//{given}') in _LOOPBACK else 'https'}://{given}"
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _bad(text) from None
    printable = given.isascii() and given.isprintable() and " " not in given
    if parts.scheme not in _PORTS or not host or parts.username is not None or not printable or parts.query:
        raise _bad(text)
    shown = f"[{host}]" if ":" in host else host
    end = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return Address(f"{parts.scheme}://{shown}{end}", parts.path.rstrip("/"))


def parse_centre(text: str) -> str:
    """The origin of a centre to log in to; BadParameter where a token could be read on its way there."""
    address = parse_address(text)
    if not address.is_safe:
        raise BadParameter(
            "A token that is sent over plain http can be read on its way.",
            value=address.origin,
            allowed="https, or http on this machine",
            next_step=f"Use https://{address.origin.removeprefix('http://')} if the centre has it.",
        )
    return address.origin


def origin_of(url: str) -> str | None:
    """The origin of any URL, or None where it has none."""
    try:
        return parse_address(url.partition("?")[0].partition("#")[0]).origin if "://" in url else None
    except BadParameter:
        return None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _bad(text: str) -> BadParameter:
    return BadParameter("This is no address of a centre.", value=text, allowed="such as https://dac.example.org")
