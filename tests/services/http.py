"""``httpx``'s functions without its certificates: loading them costs more than a request to our own machine."""

from __future__ import annotations

from functools import partial

import httpx

_OPTIONS = {"verify": False, "trust_env": False}
request = partial(httpx.request, **_OPTIONS)
get = partial(request, "GET")
head = partial(request, "HEAD")
post = partial(request, "POST")
put = partial(request, "PUT")
delete = partial(request, "DELETE")
options = partial(request, "OPTIONS")


def client(base_url: str) -> httpx.Client:
    """Keeps cookies, as a browser does, and follows nothing by itself."""
    return httpx.Client(base_url=base_url, timeout=60, **_OPTIONS)  # type: ignore[arg-type]
