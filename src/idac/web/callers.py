"""Whom a request is counted for, where callers share what there is."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from idac.core.principal import ANONYMOUS, Principal


def network_of(address: str) -> str:
    """The address, or for IPv6 the network of it that one customer has whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:  # how a socket that hears both kinds names callers of the older one
            return str(parsed.ipv4_mapped)
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
