"""Groups of one's own at a centre from afar: the API of /auth/api/v1, as whoever is logged in there."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from idac.client.device_login import CentreUnavailable, unavailable
from idac.client.kept import LogIn
from idac.core.errors import AccessDenied, BadParameter, Conflict, NotAuthenticated, NotFound, TooOften, UserError

_API = "/auth/api/v1"
_TIMEOUT_S = 30.0
_KINDS: dict[int, type[UserError]] = {
    400: BadParameter,
    401: NotAuthenticated,
    403: AccessDenied,
    404: NotFound,
    409: Conflict,
    429: TooOften,
}


class RemoteGroups:
    """Groups and invitations of the account of *log_in*; nothing is sent to any other origin."""

    def __init__(self, log_in: LogIn) -> None:
        self._log_in = log_in.require_current()

    def mine(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "groups"))

    def invitations(self) -> list[dict[str, Any]]:
        """Invitations to the account."""
        return list(self._ask("GET", "invitations"))

    def make(self, name: str, description: str) -> dict[str, Any]:
        return dict(self._ask("POST", "groups", {"name": name, "description": description}))

    def invite(
        self, group: str, who: str | None, uses: int, expires: datetime | None, member_expires: datetime | None
    ) -> dict[str, Any]:
        """An invitation of an account; with None one by a link, whose address the answer has."""
        asked: dict[str, object] = {"username": who} if who is not None else {"uses": uses}
        for name, moment in (("expires", expires), ("member_expires", member_expires)):
            if moment is not None:
                asked[name] = int(moment.timestamp())
        return dict(self._ask("POST", f"groups/{quote(group, safe='')}/invitations", asked))

    def join(self, secret: str) -> None:
        self._ask("POST", "invitations", {"secret": secret})

    def answer(self, key: str, *, accept: bool) -> None:
        self._ask("POST" if accept else "DELETE", f"invitations/{quote(key, safe='')}")

    def leave(self, group: str) -> None:
        self._ask("DELETE", f"groups/{quote(group, safe='')}/members/{quote(self._log_in.username, safe='')}")

    def _ask(self, method: str, path: str, sent: dict[str, object] | None = None) -> Any:
        headers = {"authorization": f"Bearer {self._log_in.token}", "accept": "application/json"}
        url = f"{self._log_in.url}{_API}/{path}"
        try:
            answer = httpx.request(method, url, json=sent, headers=headers, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise unavailable(self._log_in.url, error) from None
        if answer.status_code == 204:
            return None
        try:
            told = answer.json()
        except ValueError:
            told = None
        if answer.is_success and told is not None:
            return told
        raise self._refusal(answer.status_code, told)

    def _refusal(self, status: int, told: Any) -> UserError:
        """The centre's own words, where it has some."""
        parts = told.get("error") if isinstance(told, dict) else None
        if status not in _KINDS or not isinstance(parts, dict):
            return CentreUnavailable(
                "The centre gave no answer that can be used.",
                value=f"{self._log_in.url}, status {status}",
                next_step="Try again later, or tell its operator.",
            )
        words = {name: _line(parts.get(name)) or None for name in ("value", "allowed", "next_step")}
        if status == 403 and "user:groups" in (words["allowed"] or ""):
            words["next_step"] = f"Log in with: idac login {self._log_in.url} --scope read:tap --scope user:groups"
        return _KINDS[status](
            _line(parts.get("what")) or "The centre refused this.",
            value=words["value"],
            allowed=words["allowed"],
            next_step=words["next_step"],
        )


def _line(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else ""
