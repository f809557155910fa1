"""Columns of text made into values: VOTable's TD elements, FITS ASCII fields, ECSV's arrays. Empty text is null."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type, fixed_length
from idac.tables.model import Column
from idac.tables.readers import packed

_TRUE = frozenset(("t", "true", "1"))
_FALSE = frozenset(("f", "false", "0"))
_NO_VALUE = frozenset(("?", ""))
_BOUNDS = {"unsignedByte": (0, 255), "short": (-(2**15), 2**15 - 1), "int": (-(2**31), 2**31 - 1)}
_LONG = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """How one column's text is read."""

    column: Column
    #: The text (or, for integers, the number) that stands for null.
    null: str | None = None
    #: A bit array is written as digits without anything between them.
    is_bits: bool = False


def parse_texts(texts: pa.Array, spec: TextColumn, first_row: int) -> pa.Array:
    """The values of *texts* in the column's Arrow type; BadData with the row, counted from 1, for what is none."""
    kind = spec.column.type
    target = arrow_type(kind)
    if kind.datatype in ("char", "unicodeChar") and not kind.is_timestamp:
        return _parse_strings(texts, spec)
    trimmed = _null_where_blank(pc.utf8_trim_whitespace(texts), spec)
    if kind.is_timestamp:
        return _parse_timestamps(trimmed, spec, first_row)
    if pa.types.is_list(target) or pa.types.is_fixed_size_list(target) or pa.types.is_binary(target):
        return _parse_lists(trimmed, spec, target, first_row)
    values = _parse_scalars(trimmed, spec.column, target, first_row)
    return _without_null(values, spec)


def _null_where_blank(texts: pa.Array, spec: TextColumn) -> pa.Array:
    blank = pc.equal(texts, "")
    if spec.null:
        blank = pc.or_(blank, pc.equal(texts, spec.null))
    return pc.if_else(blank, None, texts) if pc.any(blank).as_py() else texts


def _parse_strings(texts: pa.Array, spec: TextColumn) -> pa.Array:
    kind = spec.column.type
    whole = _null_where_blank(texts, spec)
    if kind.arraysize and "x" in kind.arraysize:
        width = kind.arraysize.partition("x")[0]
        return packed.string_lists(whole, int(width) if width.isdecimal() else 1)
    return whole


def _without_null(values: pa.Array, spec: TextColumn) -> pa.Array:
    """Integers equal to the declared null, however it was written (``-99``, ``0xFF``), are null."""
    if spec.null and pa.types.is_integer(values.type):
        try:
            null = int(spec.null, 0)
        except ValueError:
            return values
        low, high = _BOUNDS.get(spec.column.type.datatype, _LONG)
        if low <= null <= high:
            return pc.if_else(pc.equal(values, pa.scalar(null, values.type)), None, values)
    if pa.types.is_floating(values.type):
        nan = pc.is_nan(values)
        return pc.if_else(nan, None, values) if pc.any(nan).as_py() else values
    return values


def _parse_scalars(texts: pa.Array, column: Column, target: pa.DataType, first_row: int) -> pa.Array:
    """Arrow's own parser where it reads them all; value by value, with VOTable's odder spellings, where not."""
    if not pa.types.is_boolean(target):
        try:
            return texts.cast(target)
        except pa.ArrowInvalid:
            pass
    parse = _parser_of(column)
    values: list[Any] = []
    for row, text in enumerate(texts.to_pylist(), first_row):
        try:
            values.append(None if text is None else parse(text))
        except ValueError as error:
            raise _bad_value(column, text, row) from error
    return pa.array(values, target)


def _parser_of(column: Column) -> Callable[[str], Any]:
    name = column.type.datatype
    if name == "boolean":
        return _parse_boolean
    if name in ("float", "double", "floatComplex", "doubleComplex"):
        return _parse_float
    low, high = _BOUNDS.get(name, _LONG)
    return lambda text: _parse_integer(text, low, high)


def _parse_boolean(text: str) -> bool | None:
    word = text.lower()
    if word in _NO_VALUE:
        return None
    if word not in _TRUE and word not in _FALSE:
        raise ValueError(text)
    return word in _TRUE


def _parse_float(text: str) -> float:
    value = float(text.replace("d", "e").replace("D", "E") if text[:1] in "+-.0123456789" else text)
    if "_" in text:
        raise ValueError(text)
    return value


def _parse_integer(text: str, low: int, high: int) -> int:
    if len(text) > 40 or "_" in text:
        raise ValueError(text)
    digits = text.lower().lstrip("+-")
    value = int(text, 16) if digits.startswith("0x") else int(text)
    if not low <= value <= high:
        raise ValueError(text)
    return value


def _parse_timestamps(texts: pa.Array, spec: TextColumn, first_row: int) -> pa.Array:
    bare = pc.replace_substring_regex(texts, r"[Zz]$", "")
    try:
        return bare.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        pass
    values: list[datetime | None] = []
    for row, text in enumerate(texts.to_pylist(), first_row):
        try:
            values.append(None if text is None else _parse_timestamp(text))
        except ValueError as error:
            raise _bad_value(spec.column, text, row) from error
    return pa.array(values, pa.timestamp("us"))


def _parse_timestamp(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _parse_lists(texts: pa.Array, spec: TextColumn, target: pa.DataType, first_row: int) -> pa.Array:
    column = spec.column
    split = _split_bits(texts) if spec.is_bits else pc.split_pattern_regex(texts, r"[\s,]+")
    mask = np.asarray(split.is_null()) if split.null_count else None
    lengths = np.asarray(pc.fill_null(pc.list_value_length(split), 0)).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    words = split.flatten()
    element = target if pa.types.is_binary(target) else target.value_type
    if pa.types.is_fixed_size_list(element):
        element = element.value_type
    scalar_type = pa.uint8() if pa.types.is_binary(target) else element
    flat = _parse_elements(words, column, scalar_type, starts, first_row)
    complex_width = 2 if column.type.datatype.endswith("Complex") else 1
    _check_lengths(column, lengths, mask, complex_width, first_row)
    if pa.types.is_fixed_size_list(target) and (fixed_length(column.type.arraysize) or 1) >= 1 and _is_fixed(column):
        width = (fixed_length(column.type.arraysize) or 1) * complex_width
        return packed.fixed_lists(_spread(flat, mask, width), len(texts), target, mask)
    return packed.varying_lists(flat, lengths // complex_width, target, mask)


def _is_fixed(column: Column) -> bool:
    return not (column.type.arraysize or "").endswith("*")


def _check_lengths(column: Column, lengths: packed.Values, mask: packed.Mask, unit: int, first_row: int) -> None:
    wrong = lengths % unit != 0
    allowed = "pairs of numbers"
    if _is_fixed(column):
        width = (fixed_length(column.type.arraysize) or 1) * unit
        wrong = lengths != width
        allowed = f"{width} numbers (arraysize {column.type.arraysize})"
    if mask is not None:
        wrong = wrong & ~mask
    if wrong.any():
        row = int(wrong.argmax())
        raise BadData(
            f"Row {first_row + row}: the array in column {column.name} has the wrong length.",
            value=f"{int(lengths[row])} numbers",
            allowed=allowed,
            next_step="Correct the value, or the arraysize of the column.",
        )


def _spread(flat: packed.Values, mask: packed.Mask, width: int) -> packed.Values:
    """Room in a fixed-size list for the rows that are null."""
    if mask is None:
        return flat
    whole = np.zeros((len(mask), width), flat.dtype)
    whole[~mask] = flat.reshape(-1, width)
    return whole.reshape(-1)


def _split_bits(texts: pa.Array) -> pa.Array:
    joined = pc.replace_substring_regex(texts, r"[\s,]+", "")
    spaced = pc.utf8_trim_whitespace(pc.replace_substring_regex(joined, "(.)", r"\1 "))
    return pc.split_pattern(spaced, " ")


def _parse_elements(
    words: pa.Array, column: Column, target: pa.DataType, starts: packed.Values, first_row: int
) -> packed.Values:
    if not pa.types.is_boolean(target):
        try:
            return np.asarray(words.cast(target))
        except pa.ArrowInvalid:
            pass
    parse = _parser_of(column)
    values: list[Any] = []
    for place, word in enumerate(words.to_pylist()):
        try:
            values.append(parse(word))
        except ValueError as error:
            row = int(np.searchsorted(starts, place, side="right")) - 1
            raise _bad_value(column, word, first_row + row) from error
    return np.array([_filler(target) if v is None else v for v in values], target.to_pandas_dtype())


def _filler(target: pa.DataType) -> object:
    """What an unknown element of an array becomes: the array types of this field have no null inside."""
    return math.nan if pa.types.is_floating(target) else 0


def _bad_value(column: Column, text: str | None, row: int) -> BadData:
    kind = column.type
    name = "timestamp" if kind.is_timestamp else kind.datatype
    allowed = {
        "timestamp": "a timestamp such as 2026-01-31T12:00:00",
        "boolean": "T or F, true or false, 1 or 0",
        "unsignedByte": "an integer from 0 to 255",
        "short": "an integer from -32768 to 32767",
        "int": "an integer from -2147483648 to 2147483647",
        "long": "an integer of at most 64 bits",
    }.get(name, "a number")
    return BadData(
        f"Row {row}: the value of column {column.name} is no {name}.",
        value=repr(text),
        allowed=allowed,
        next_step="Correct the value, or the type of the column.",
    )
