"""The formats a result can have: their names, their media types, what they hold, and who writes them."""

from __future__ import annotations

from dataclasses import dataclass

from idac.core.errors import BadParameter
from idac.tables.writers.columnar import write_arrow, write_parquet
from idac.tables.writers.delimited import write_csv, write_tsv
from idac.tables.writers.fits import write_fits
from idac.tables.writers.info import ResultInfo, Write
from idac.tables.writers.json_text import write_json
from idac.tables.writers.votable import error_document, write_binary, write_binary2, write_tabledata

__all__ = ["DEFAULT_FORMAT", "FORMATS", "Format", "ResultInfo", "error_document", "find_format"]


@dataclass(frozen=True, slots=True)
class Format:
    """One serialisation. *mime* is the Content-Type of an answer; *aliases* are further values of RESPONSEFORMAT."""

    name: str
    mime: str
    aliases: tuple[str, ...]
    extension: str
    write: Write
    description: str
    #: What does not survive, for the reference page.
    loses: str = "nothing"


_VOTABLE = "application/x-votable+xml"
_ALL = (
    Format(
        "votable",
        f"{_VOTABLE};serialization=binary",
        ("votable/b1", "votable/binary", _VOTABLE, "text/xml", "application/xml", "vot"),
        "vot",
        write_binary,
        "VOTable, BINARY",
        "the difference between a NULL and an empty text or array; the smallest integer of each width means NULL, and "
        "bytes are shorts for its sake",
    ),
    Format(
        "votable/b2",
        f"{_VOTABLE};serialization=binary2",
        ("votable/binary2",),
        "vot",
        write_binary2,
        "VOTable, BINARY2",
    ),
    Format(
        "votable/td",
        f"{_VOTABLE};serialization=tabledata",
        ("votable/tabledata",),
        "vot",
        write_tabledata,
        "VOTable, TABLEDATA",
        "the difference between a NULL and an empty text or array; characters that XML has not (written as U+FFFD)",
    ),
    Format(
        "parquet",
        "application/vnd.apache.parquet",
        ("application/x-parquet", "application/parquet", "votable/parquet"),
        "parquet",
        write_parquet,
        "Parquet, with VOTable metadata (VOParquet 1.0)",
    ),
    Format(
        "fits",
        "application/fits",
        ("image/fits", "fits/bintable"),
        "fits",
        write_fits,
        "FITS binary table",
        "characters beyond ASCII (written as ?), the difference between a NULL and an empty text or array and between "
        "NULL and NaN",
    ),
    Format(
        "csv",
        "text/csv;header=present",
        ("text/csv",),
        "csv",
        write_csv,
        "Comma-separated values",
        "units, UCDs and descriptions; the mark of a cut result; NULL inside arrays",
    ),
    Format(
        "tsv",
        "text/tab-separated-values;header=present",
        ("text/tab-separated-values",),
        "tsv",
        write_tsv,
        "Tab-separated values",
        "units, UCDs and descriptions; the mark of a cut result; NULL inside arrays",
    ),
    Format(
        "json",
        "application/json",
        ("text/json",),
        "json",
        write_json,
        "JSON: metadata, and an array for each row",
        "NaN and the infinities (written as null)",
    ),
    Format(
        "arrow",
        "application/vnd.apache.arrow.stream",
        ("arrow/ipc",),
        "arrow",
        write_arrow,
        "Arrow IPC stream",
        "nothing; the mark of a cut result is in the metadata of a last batch without rows, where few clients look",
    ),
)
FORMATS: dict[str, Format] = {f.name: f for f in _ALL}
#: The serialisation that pyvo reads fastest, and STILTS as fast as any (docs/reference/formats.md). What BINARY2 knows
#: better, which texts are NULL, astropy does not look at.
DEFAULT_FORMAT = FORMATS["votable"]


def _key(text: str) -> str:
    return "".join(text.lower().split())


_BY_NAME = {_key(name): f for f in reversed(_ALL) for name in (*f.aliases, f.mime, f.name)}


def find_format(asked: str) -> Format:
    """The format that a RESPONSEFORMAT or FORMAT value means, regardless of case; BadParameter where there is none."""
    # A media type may come with parameters that make no difference here, such as content=datalink or charset.
    key = _key(asked)
    while key:
        if key in _BY_NAME:
            return _BY_NAME[key]
        key = key.rpartition(";")[0]
    raise BadParameter(
        "There is no such format.",
        value=asked,
        allowed=", ".join(FORMATS),
        next_step="Leave FORMAT and RESPONSEFORMAT out for a VOTable.",
    )
