"""What a provider's claims say about a person, in this centre's terms. Nothing here trusts a claim beyond its form."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from idac.core.errors import AccessDenied
from idac.identity.model import ExternalIdentity
from idac.identity.settings import GROUP_NAME, RESERVED_NAMES, AnyProviderSettings, ClaimPaths

#: Values of group claims that are looked at; people in more groups are known, but in thousands they are an error.
_MOST_VALUES = 2000
_LONGEST_VALUE = 256
_GROUP = re.compile(GROUP_NAME, re.ASCII)


def identity_from_claims(
    provider: AnyProviderSettings, issuer: str, paths: ClaimPaths, claims: Mapping[str, Any], now: datetime
) -> ExternalIdentity:
    """Who *claims* speak of; their ``sub`` is the subject.

    AccessDenied for somebody in none of the groups that may log in, where the operator named some.
    """
    values = frozenset(_group_values(claims, paths.groups))
    if provider.allow.groups and not values & set(provider.allow.groups):
        raise AccessDenied(
            "Your account at the identity provider is in no group that may log in here.",
            value=f"{len(values)} groups of {issuer}",
            next_step="Ask the operator of this centre which group that is.",
        )
    named = values | frozenset(_group_values(claims, paths.rights))
    return ExternalIdentity(
        issuer=issuer,
        subject=claims["sub"],
        username=_first_text(claims, paths.username, 254) or "",
        full_name=_first_text(claims, paths.full_name, 200),
        email=_email(claims, paths.email),
        groups=frozenset(_groups(provider, values)),
        rights=frozenset(provider.rights[value] for value in named if value in provider.rights),
        groups_until=now + timedelta(seconds=provider.groups_s),
        admin_groups=values & frozenset(provider.admin_groups),
    )


def wants_more(paths: ClaimPaths, claims: Mapping[str, Any]) -> bool:
    """Whether something that the operator named is not among *claims*, so that user-info may have it."""
    texts = [each for each in (paths.username, paths.full_name, paths.email) if each]
    if any(all(_at(claims, path) is None for path in each) for each in texts):
        return True
    return any(_at(claims, path) is None for path in (*paths.groups, *paths.rights))


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim at *path*: the one of that very name, else the rest of the path in the object that its head names."""
    if path in claims:
        return claims[path]
    for position in (place for place, letter in enumerate(path) if letter == "."):
        inner = claims.get(path[:position])
        if isinstance(inner, Mapping):
            found = _at(inner, path[position + 1 :])
            if found is not None:
                return found
    return None


def _first_text(claims: Mapping[str, Any], paths: Iterable[str], longest: int) -> str | None:
    for path in paths:
        found = _at(claims, path)
        if isinstance(found, str) and (text := _plain(found)):
            return text[:longest]
    return None


def _email(claims: Mapping[str, Any], paths: Iterable[str]) -> str | None:
    if claims.get("email_verified") in (False, "false"):
        return None
    text = _first_text(claims, paths, 255)
    return text if text is not None and "@" in text and len(text) < 255 and " " not in text else None


def _plain(text: str) -> str:
    """*text* without what would confuse a terminal, a page or a log."""
    return "".join(letter for letter in text if unicodedata.category(letter)[0] != "C").strip()


def _group_values(claims: Mapping[str, Any], paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        found = _at(claims, path)
        values: list[Any] = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        for value in values[:_MOST_VALUES]:
            # Some providers send groups as objects, whose name is what people know them by.
            name = value.get("name") if isinstance(value, Mapping) else value
            if isinstance(name, str) and 0 < len(name) <= _LONGEST_VALUE:
                yield name


def _groups(provider: AnyProviderSettings, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        if value in provider.groups:
            yield provider.groups[value]
            continue
        plain = value.removeprefix("/")
        name = f"{provider.group_prefix}{plain}"
        # Never altered to fit: two groups there must not become one here.
        if (
            provider.group_prefix
            and plain
            and len(name) <= 64
            and _GROUP.fullmatch(name)
            and name not in RESERVED_NAMES
        ):
            yield name
