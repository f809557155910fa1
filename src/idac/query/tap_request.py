"""TAP 1.1's parameters, from text to a request that may still be wrong only in its query (section 2.7)."""

from __future__ import annotations

from dataclasses import dataclass

from idac.core.errors import BadParameter
from idac.query.settings import UploadSettings
from idac.query.upload_specs import UploadSpec, parse_uploads
from idac.tables.formats import Format, find_format
from idac.web.parameters import Parameters

LANGUAGES = ("ADQL", "ADQL-2.0", "ADQL-2.1")
DEFAULT_FORMAT = "votable"


@dataclass(frozen=True, slots=True)
class TapRequest:
    """A query as a client asked for it."""

    adql: str
    format: Format
    max_rows: int | None
    run_id: str | None
    uploads: tuple[UploadSpec, ...]


def parse_tap_request(parameters: Parameters, settings: UploadSettings) -> TapRequest:
    """The request in *parameters*; BadParameter for anything that TAP does not allow."""
    request = parameters.choice("REQUEST", ["DOQUERY"])
    del request  # optional since TAP 1.1, with one value
    language = parameters.text("LANG")
    if language is not None and language.upper() not in LANGUAGES:
        raise BadParameter(
            "LANG names a language that is not spoken here.", value=language, allowed=", ".join(LANGUAGES)
        )
    adql = parameters.one("QUERY")
    if adql is None or not adql.strip():
        raise BadParameter("QUERY is missing.", allowed="an ADQL query", next_step="Add QUERY=SELECT … to the request.")
    return TapRequest(
        adql=adql,
        format=requested_format(parameters),
        max_rows=parameters.integer("MAXREC"),
        run_id=parameters.text("RUNID"),
        uploads=parse_uploads(parameters.many("UPLOAD"), settings),
    )


def requested_format(parameters: Parameters) -> Format:
    """RESPONSEFORMAT, else TAP 1.0's FORMAT, else VOTable (DALI 1.1 section 3.4.3)."""
    return find_format(parameters.text("RESPONSEFORMAT") or parameters.text("FORMAT") or DEFAULT_FORMAT)
