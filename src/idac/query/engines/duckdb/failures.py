"""DuckDB's errors as errors for people: what went wrong with their query, without a path, an SQL text or its jargon."""

from __future__ import annotations

import logging
import re

import duckdb
import pyarrow as pa

from idac.core.errors import BadQuery, ResourceExhausted, StoreUnavailable, UserError
from idac.query.engines.rowgroups import unreadable

log = logging.getLogger(__name__)

_DISK = re.compile(r"no space left|max_temp_directory_size|disk full|failed to offload", re.IGNORECASE)
_MANY_ROWS = re.compile(r"more than one row returned by a subquery", re.IGNORECASE)
_CONSTANT = re.compile(r"QUANTILE can only take constant|quantile.*constant", re.IGNORECASE)


def as_user_error(error: BaseException, memory_bytes: int) -> UserError | None:
    """The error to show in place of DuckDB's; None for one that is a fault of ours."""
    if isinstance(error, UserError):
        return error
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException) or _DISK.search(text):
        return _exhausted(text, memory_bytes)
    if isinstance(error, duckdb.HTTPException):
        log.warning("the archive's store failed a query: %s", text)
        return StoreUnavailable(
            "The store of this centre does not answer.", next_step="Try again in a minute; then tell the operator."
        )
    if isinstance(error, duckdb.IOException | FileNotFoundError | duckdb.SerializationException):
        log.warning("data of a table can't be read: %s", text)
        return unreadable()
    if isinstance(error, duckdb.InvalidInputException) and re.search(r"parquet|snappy|zstd", text, re.IGNORECASE):
        log.warning("data of a table can't be read: %s", text)
        return unreadable()
    return _of_values(error, text)


def _exhausted(text: str, memory_bytes: int) -> ResourceExhausted:
    step = "Select fewer rows or columns, or sort and group less at once; a smaller region helps most."
    if _DISK.search(text):
        return ResourceExhausted("The query needs more temporary disk space than one query may use.", next_step=step)
    return ResourceExhausted(
        "The query needs more memory than one query may use.", value=f"{memory_bytes / 2**30:.2g} GiB", next_step=step
    )


def _of_values(error: BaseException, text: str) -> BadQuery | None:
    if _MANY_ROWS.search(text):
        return BadQuery(
            "A sub-query that is used as a value gives more than one row.",
            next_step="Use IN or EXISTS, or make it one row with MAX, MIN or TOP 1.",
        )
    if _CONSTANT.search(text):
        return BadQuery("The fraction of QUANTILE must be a number, not an expression.", allowed="0 to 1")
    if isinstance(error, duckdb.ConversionException):
        return BadQuery(
            "A value can't be converted to the type that the query asks for.",
            next_step="Look at the CASTs of the query, and at texts that are compared with timestamps.",
        )
    if isinstance(error, duckdb.OutOfRangeException | pa.ArrowInvalid):
        return BadQuery(
            "A value that the query works out is out of range.",
            next_step="Leave out the rows that cause it with WHERE, or work in DOUBLE PRECISION with CAST.",
        )
    return None
