"""The address under which clients know this centre."""

from __future__ import annotations

from starlette.requests import Request


class PublicUrl:
    """Makes absolute links: from the operator's ``server.public_url``, else from the request's own address."""

    def __init__(self, public_url: str | None) -> None:
        self._public_url = public_url

    def of(self, request: Request, path: str = "") -> str:
        """The absolute address of *path* on this centre."""
        if self._public_url is not None:
            return f"{self._public_url}{path}"
        return f"{request.url.scheme}://{request.url.netloc}{path}"
