"""Whom a request is counted for, where callers share what there is."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from idac.core.principal import ANONYMOUS, Principal


def unmapped(address: str) -> str:
    """The address; that of IPv4 where it is one in the form of IPv6, as sockets that hear both kinds have it."""
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return str(mapped) if mapped is not None else address


def network_of(address: str) -> str:
    """The address, or for IPv6 the network of it that one customer has whole."""
    address = unmapped(address)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 6:
        return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    return str(parsed)


def fair_owner(request: Request, principal: Principal) -> str:
    """Whom work is counted for: anonymous callers by address, or one would starve the others."""
    if principal.kind != "anonymous" or request.client is None:
        return principal.name
    return f"{principal.name}@{network_of(request.client.host)}"


def is_anonymous_owner(owner: str) -> bool:
    """True for what ``fair_owner`` makes of a caller without a name; no account's name has an ``@``."""
    return owner == ANONYMOUS.name or owner.startswith(f"{ANONYMOUS.name}@")
