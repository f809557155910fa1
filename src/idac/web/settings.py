"""The ``server`` section of dac.yaml: where the front door stands and what a request may weigh."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from idac.core import machine
from idac.core.settings import Section


class ServerSettings(Section):
    """How this centre listens and what it tells clients its address is."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback by default, so that a first try is not open to the network; a deployment
    behind an ingress sets ``0.0.0.0``."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """TCP port; 0 takes a free one."""

    processes: Annotated[int, Field(ge=1, le=64)] = Field(
        default_factory=lambda: max(1, min(4, machine.processors() // 4))
    )
    """Processes that answer at this address, each with its share of engine.memory_gib and of the places. One process
    answers 200 to 400 small queries a second; default: one for every four processors, at most 4."""

    public_url: str | None = None
    """Address that clients use, such as ``https://dac.example.org``, without a path. Unset: taken from each request's
    ``Host``, which is right on one machine. Operators behind a proxy set it, since links in job and capability
    documents are absolute."""

    forwarded_allow_ips: str = "127.0.0.1"
    """Addresses (comma-separated, ``*`` for all) whose ``X-Forwarded-*`` headers are believed. Only a proxy that
    overwrites those headers belongs here."""

    max_form_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    """Bytes of a request's fields together (query text and other parameters, uploads apart), held in memory. The
    default is some hundred thousand identifiers in an ``IN`` list; longer lists belong in an upload."""

    max_upload_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Bytes of one request's body, uploads included; they stream to disk. The default carries about twenty million
    positions in Parquet."""

    max_upload_files: Annotated[int, Field(ge=0)] = 32
    """Files in one request."""

    stall_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds a client may leave the connection full before its query is stopped. It holds a place in the engine all
    that time; raise it for clients behind very slow links."""

    worker_threads: Annotated[int, Field(ge=4)] = 64
    """Threads for requests that wait for a store or the state database, and for making the next piece of an answer."""

    waiting_requests: Annotated[int, Field(ge=4)] = 512
    """Queries that may be in the process at once, waiting for the engine or being answered by it. Each holds a thread,
    which costs some 100 kB; more than engine.max_queued, so that the engine is the one to say that too many wait."""

    @field_validator("public_url")
    @classmethod
    def _no_path(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, separator, rest = value.rstrip("/").partition("://")
        if scheme not in ("http", "https") or not separator or not rest or "/" in rest:
            raise ValueError("must be http://host[:port] or https://host[:port] with no path")
        return f"{scheme}://{rest}"
