"""Which format an input is in: by its first bytes, and by the file name's ending where those say only "text"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from idac.core.errors import BadData, BadParameter
from idac.tables.readers.inputs import Input
from idac.tables.readers.source import NO_LIMITS

type ReadFormat = Literal["fits", "votable", "csv", "tsv", "ecsv", "parquet", "arrow"]

READ_FORMATS: tuple[ReadFormat, ...] = get_args(ReadFormat.__value__)
_NAMES: dict[str, ReadFormat] = {
    "vot": "votable",
    "xml": "votable",
    "vo": "votable",
    "fit": "fits",
    "fts": "fits",
    "pq": "parquet",
    "parq": "parquet",
    "feather": "arrow",
    "arrows": "arrow",
    "ipc": "arrow",
    "tab": "tsv",
    "application/x-votable+xml": "votable",
    "text/xml": "votable",
    "application/xml": "votable",
    "application/fits": "fits",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-parquet": "parquet",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.arrow.file": "arrow",
}
_MAGIC: tuple[tuple[bytes, ReadFormat], ...] = (
    (b"SIMPLE  =", "fits"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"# %ECSV", "ecsv"),
)
#: What people send by mistake, and what they should do.
_REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", "Unpack it and send the table inside."),
    (b"BZh", "compressed with bzip2", "Unpack it, or compress it with gzip."),
    (b"\xfd7zXZ\x00", "compressed with xz", "Unpack it, or compress it with gzip."),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it, or compress it with gzip."),
    (b"FEA1", "in version 1 of Feather", "Write it again with a current version of Feather, or as Parquet."),
    (b"\x89HDF", "an HDF5 file", "Convert it to Parquet or FITS."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table to Parquet or CSV."),
    (b"%PDF", "a PDF document", "Send the table as FITS, VOTable, Parquet or CSV."),
    (b"XTENSION", "a FITS extension without its file", "Send the whole FITS file."),
)
_XML_START = re.compile(rb"\s*<(\?xml|!--|!DOCTYPE\s+VOTABLE|(\w+:)?VOTABLE)", re.IGNORECASE)
_HTML_START = re.compile(rb"\s*(<!--.*?-->\s*)*<(!DOCTYPE\s+html|html|head|body)", re.IGNORECASE | re.DOTALL)


def named_format(name: str) -> ReadFormat:
    """The format called *name*: a short name, a file ending or a MIME type, its parameters ignored."""
    key = name.split(";")[0].strip().lower()
    found = _NAMES.get(key, key)
    for known in READ_FORMATS:
        if known == found:
            return known
    raise BadParameter(
        "No table format has this name.",
        value=name,
        allowed=", ".join(READ_FORMATS),
        next_step="Leave the format out to have it found from the file itself.",
    )


def detect_format(source: str | Path | BinaryIO) -> ReadFormat:
    """The format of a path or a seekable file object; BadData for one that is no table."""
    opened = Input(source, NO_LIMITS)
    try:
        return detect(opened)
    finally:
        opened.close()


def detect(source: Input) -> ReadFormat:
    """The format of an open input."""
    if source.is_folder:
        return "parquet"
    head = source.head
    if not head and not source.is_gzip:
        raise BadData(
            "The file is empty.",
            value=source.label,
            allowed="a table in FITS, VOTable, CSV, TSV, ECSV, Parquet or Arrow",
            next_step="Check how the file was made or sent.",
        )
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    for magic, kind, advice in _REFUSED:
        if head.startswith(magic):
            raise _not_a_table(source, kind, advice)
    plain = _without_bom(head)
    if _HTML_START.match(plain):
        raise _not_a_table(source, "a web page (HTML), often an error message", "Open it in a browser to see why.")
    if _XML_START.match(plain):
        return "votable"
    return _detect_text(source, plain)


def _detect_text(source: Input, head: bytes) -> ReadFormat:
    ending = Path(source.label.lower().removesuffix(".gz")).suffix.removeprefix(".")
    by_name = _NAMES.get(ending, ending)
    for known in READ_FORMATS:
        if known == by_name:
            return known
    if b"\x00" in head:
        raise _not_a_table(source, "binary and of no known kind", "Name the format if you know it.")
    if head.startswith(b"# %ECSV"):
        return "ecsv"
    first = head.partition(b"\n")[0]
    return "tsv" if first.count(b"\t") > first.count(b",") else "csv"


def _without_bom(head: bytes) -> bytes:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", errors="replace").encode()
    return head.removeprefix(b"\xef\xbb\xbf")


def _not_a_table(source: Input, kind: str, advice: str) -> BadData:
    return BadData(
        f"The file is {kind}.",
        value=source.label,
        allowed="a table in FITS, VOTable, CSV, TSV, ECSV, Parquet or Arrow, also gzipped",
        next_step=advice,
    )
