"""The astronomer's side of a centre: logging in from a terminal, and asking with the token that this left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

__all__ = ["session"]


def session(url: str | None = None) -> requests.Session:
    """A session for pyvo, logged in at the centre at *url* as ``idac login`` was; without *url*, at the only one.

    The token goes to that centre and to no other address. Raises NotAuthenticated where there is no log-in, or it has
    ended.
    """
    # Who uses pyvo has requests; idac itself needs no second HTTP client.
    from idac.client.requests_session import LoggedInSession  # noqa: PLC0415

    return LoggedInSession(url)
