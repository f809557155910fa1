"""The ``query`` section of dac.yaml: limits of TAP and cone search, and where uploads may come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from idac.core.settings import Section


class UploadSettings(Section):
    """TAP uploads."""

    max_tables: Annotated[int, Field(ge=0)] = 16
    """Tables in one query. 0 turns uploads off."""

    max_rows: Annotated[int, Field(ge=1)] = 50_000_000
    """Rows of one uploaded table. The bytes of a request are bounded by server.max_upload_bytes before this is."""

    max_uri_bytes: Annotated[int, Field(ge=1)] = 2 * 1024**3
    """Bytes fetched for one upload that is named by its address."""

    uri_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds to fetch one upload, redirects included."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts (``data.example.org``), domains (``.example.org``) or networks (``10.1.0.0/16``) inside that uploads may
    be fetched from although they are not public addresses. Empty, because a query could otherwise read from machines
    that only this server can reach."""


class QuerySettings(Section):
    """Queries by TAP and cone search."""

    default_max_rows: Annotated[int, Field(ge=1)] = 5_000_000
    """Rows of a result when the request has no MAXREC; a cut result says so. Large, since results stream, and small
    enough that a forgotten WHERE ends."""

    max_rows: Annotated[int, Field(ge=1)] = 500_000_000
    """The largest MAXREC granted."""

    sync_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a synchronous query may compute; longer work belongs in a job."""

    max_cone_radius_deg: Annotated[float, Field(gt=0, le=180)] = 180.0
    """Largest SR of a cone search, degrees."""

    uploads: UploadSettings = UploadSettings()
    """TAP uploads."""
