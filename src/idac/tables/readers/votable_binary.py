"""VOTable's BINARY and BINARY2 streams: bytes in, columns out, a chunk of rows at a time (VOTable 1.5 section 6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type, fixed_length
from idac.tables.model import Column
from idac.tables.readers import packed
from idac.tables.readers.source import ReadLimits
from idac.tables.readers.text_values import TextColumn, parse_texts

_DTYPES = {
    "boolean": "u1",
    "unsignedByte": "u1",
    "short": ">i2",
    "int": ">i4",
    "long": ">i8",
    "float": ">f4",
    "double": ">f8",
    "char": "u1",
    "unicodeChar": ">u2",
    "floatComplex": ">f4",
    "doubleComplex": ">f8",
}
_TRUE = np.isin(np.arange(256), [ord(c) for c in "Tt1"])
_FALSE = np.isin(np.arange(256), [ord(c) for c in "Ff0"])
_LENGTH = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class BinaryField:
    """How one FIELD's cells are packed."""

    column: Column
    null: int | None
    is_bits: bool
    #: Elements a cell; for a varying cell each of the counted ones is one element.
    count: int
    is_varying: bool

    @property
    def element_bytes(self) -> int:
        size = np.dtype(_DTYPES[self.column.type.datatype]).itemsize
        return size * 2 if self.column.type.datatype.endswith("Complex") else size

    @property
    def width(self) -> int:
        """Bytes of a fixed cell."""
        return self.bytes_of(self.count)

    def bytes_of(self, count: int) -> int:
        return (count + 7) // 8 if self.is_bits else count * self.element_bytes


def binary_field(column: Column, null: str | None, *, is_bits: bool) -> BinaryField:
    """The packing that a FIELD's datatype and arraysize mean."""
    size = column.type.arraysize
    varying = bool(size and size.endswith("*"))
    count = 1 if varying else (fixed_length(size) or 1)
    number = int(null, 0) if null and _is_integer(null) and column.type.is_integer else None
    return BinaryField(column, number, is_bits, count, varying)


def _is_integer(text: str) -> bool:
    try:
        int(text, 0)
    except ValueError:
        return False
    return True


class BinaryRows:
    """Rows of packed cells. ``decode`` takes as many whole rows as its bytes hold and says where they end."""

    def __init__(self, fields: list[BinaryField], limits: ReadLimits, *, has_null_flags: bool) -> None:
        self._fields = fields
        self._limits = limits
        self._flag_bytes = (len(fields) + 7) // 8 if has_null_flags else 0
        self._row_bytes = self._flag_bytes + sum(4 if f.is_varying else f.width for f in fields)
        self._is_fixed = not any(f.is_varying for f in fields)
        if self._is_fixed:
            # One row wider than this would be refused as a cell too, and a row is the least that can be decoded.
            limits.check_cell(self._row_bytes // max(1, len(fields)), "(all)", 1)

    @property
    def least_row_bytes(self) -> int:
        return self._row_bytes

    def decode(
        self, data: NDArray[np.uint8], chosen: list[int], schema: pa.Schema, most_rows: int, first_row: int
    ) -> tuple[pa.RecordBatch, int]:
        """The whole rows at the start of *data*, at most *most_rows*, and how many bytes they took."""
        starts, lengths, rows, used = self._places(data, most_rows, first_row)
        flags = None
        if self._flag_bytes and rows:
            row_starts = starts[-1]
            flags = self._take(data, row_starts, self._flag_bytes, rows)
        arrays: list[pa.Array] = []
        for index in chosen:
            mask = None
            if flags is not None:
                set_bits = (flags[:, index // 8] >> (7 - index % 8)) & 1
                mask = set_bits.astype(bool) if set_bits.any() else None
            each = self._fields[index]
            array = self._column(data, each, starts[index], lengths[index], rows, mask)
            arrays.append(array if array.type == schema.field(len(arrays)).type else _parsed(array, each, first_row))
        return pa.RecordBatch.from_arrays(arrays, schema=schema), used

    def _places(self, data: NDArray[np.uint8], most_rows: int, first_row: int) -> tuple[list[Any], list[Any], int, int]:
        """For each field where its cells start and how many elements each has; last, where the rows start."""
        if self._is_fixed:
            return self._fixed_places(data, most_rows)
        return self._varying_places(data, most_rows, first_row)

    def _fixed_places(self, data: NDArray[np.uint8], most_rows: int) -> tuple[list[Any], list[Any], int, int]:
        rows = min(most_rows, len(data) // self._row_bytes)
        starts: list[Any] = []
        offset = self._flag_bytes
        for each in self._fields:
            starts.append(offset)
            offset += each.width
        starts.append(0)
        return starts, [each.count for each in self._fields], rows, rows * self._row_bytes

    def _varying_places(
        self, data: NDArray[np.uint8], most_rows: int, first_row: int
    ) -> tuple[list[Any], list[Any], int, int]:
        """Walk from length to length: the one loop over rows, a few steps for each varying field and no more."""
        plan, tail = self._walk_plan()
        found: list[list[int]] = [[] for _ in plan]
        counts: list[list[int]] = [[] for _ in plan]
        row_starts: list[int] = []
        whole = data.tobytes()
        end = len(whole)
        unpack = _LENGTH.unpack_from
        place = 0
        while len(row_starts) < most_rows:
            here = place
            spans = []
            for gap, each in plan:
                here += gap
                if here + 4 > end:
                    break
                count = unpack(whole, here)[0]
                here += 4
                size = self._cell_bytes(each, count, first_row + len(row_starts))
                spans.append((here, count))
                here += size
            here += tail
            if len(spans) < len(plan) or here > end:
                break
            for i, (start, count) in enumerate(spans):
                found[i].append(start)
                counts[i].append(count)
            row_starts.append(place)
            place = here
        return self._spread_places(row_starts, found, counts, place)

    def _walk_plan(self) -> tuple[list[tuple[int, BinaryField]], int]:
        """The varying fields, each with the fixed bytes before its length; and the fixed bytes after the last."""
        plan: list[tuple[int, BinaryField]] = []
        gap = self._flag_bytes
        for each in self._fields:
            if each.is_varying:
                plan.append((gap, each))
                gap = 0
            else:
                gap += each.width
        return plan, gap

    def _cell_bytes(self, each: BinaryField, count: int, row: int) -> int:
        if count < 0:
            raise BadData(
                f"Row {row}: the length of column {each.column.name} is negative.",
                value=count,
                allowed="0 or more elements",
                next_step="Check the file: the FIELDs may not describe the stream.",
            )
        size = each.bytes_of(count)
        if size > self._limits.max_cell_bytes:
            self._limits.check_cell(size, each.column.name, row)
        return size

    def _spread_places(
        self, row_starts: list[int], found: list[list[int]], counts: list[list[int]], used: int
    ) -> tuple[list[Any], list[Any], int, int]:
        rows = len(row_starts)
        row_places = np.array(row_starts, np.int64)
        here: NDArray[np.int64] = row_places + self._flag_bytes
        starts: list[Any] = []
        lengths: list[Any] = []
        varying = 0
        for each in self._fields:
            if each.is_varying:
                begin = np.array(found[varying], np.int64)
                count = np.array(counts[varying], np.int64)
                starts.append(begin)
                lengths.append(count)
                here = begin + ((count + 7) // 8 if each.is_bits else count * each.element_bytes)
                varying += 1
            else:
                starts.append(here)
                lengths.append(each.count)
                here = here + each.width
        starts.append(row_places)
        return starts, lengths, rows, used

    def _take(self, data: NDArray[np.uint8], start: Any, width: int, rows: int) -> NDArray[np.uint8]:
        """Cells of one width as a matrix of bytes."""
        if isinstance(start, int):
            matrix = data[: rows * self._row_bytes].reshape(rows, self._row_bytes)
            return np.ascontiguousarray(matrix[:, start : start + width])
        cells: NDArray[np.uint8] = data[start[:, None] + np.arange(width)]
        return cells

    def _column(
        self, data: NDArray[np.uint8], each: BinaryField, start: Any, lengths: Any, rows: int, mask: packed.Mask
    ) -> pa.Array:
        target = arrow_type(each.column.type)
        if rows == 0:
            return pa.array([], target)
        if each.is_varying:
            return self._varying_column(data, each, start, lengths, target, mask)
        cells = self._take(data, start, each.width, rows)
        return self._fixed_column(cells, each, target, mask)

    def _fixed_column(
        self, cells: NDArray[np.uint8], each: BinaryField, target: pa.DataType, mask: packed.Mask
    ) -> pa.Array:
        rows = len(cells)
        kind = each.column.type.datatype
        if kind == "char" and pa.types.is_string(target):
            return packed.fixed_texts(cells, mask, empty_is_null=not self._flag_bytes)
        if kind in ("char", "unicodeChar"):
            return self._text_column(cells.reshape(-1), np.full(rows, each.count, np.int64), each, mask)
        values, unknown = self._elements(cells.reshape(-1), each, rows)
        if pa.types.is_fixed_size_list(target):
            return packed.fixed_lists(values, rows, target, mask)
        mask = packed.either(mask, unknown)
        if each.null is not None:
            mask = packed.either(mask, values == each.null)
        return packed.scalar_array(values, target, mask)

    def _varying_column(
        self,
        data: NDArray[np.uint8],
        each: BinaryField,
        start: NDArray[np.int64],
        lengths: NDArray[np.int64],
        target: pa.DataType,
        mask: packed.Mask,
    ) -> pa.Array:
        sizes = (lengths + 7) // 8 if each.is_bits else lengths * each.element_bytes
        flat = packed.gather(data, start, sizes)
        if each.column.type.datatype in ("char", "unicodeChar"):
            return self._text_column(flat, lengths, each, mask)
        if each.is_bits:
            values = _bits_of(flat, lengths, sizes)
        else:
            values, _ = self._elements(flat, each, 1)
        if not self._flag_bytes:
            # BINARY has no other way to say that an array is missing.
            mask = packed.either(mask, lengths == 0)
        return packed.varying_lists(values, lengths, target, mask)

    def _text_column(
        self, flat: NDArray[np.uint8], lengths: NDArray[np.int64], each: BinaryField, mask: packed.Mask
    ) -> pa.Array:
        kind = each.column.type
        empty_is_null = not self._flag_bytes
        make = packed.wide_texts if kind.datatype == "unicodeChar" else packed.varying_texts
        if kind.arraysize and "x" in kind.arraysize:
            # The NULs here are padding between the strings of an array, not its end.
            blanked = flat.copy()
            blanked[(blanked == 0) & _low_bytes(flat, kind.datatype)] = 32
            texts = make(blanked, lengths, mask, empty_is_null=empty_is_null)
            width = kind.arraysize.partition("x")[0]
            return packed.string_lists(texts, int(width) if width.isdecimal() else 1)
        return make(flat, lengths, mask, empty_is_null=empty_is_null)

    def _elements(self, flat: NDArray[np.uint8], each: BinaryField, rows: int) -> tuple[packed.Values, packed.Mask]:
        """The elements as numbers or booleans, and which of the booleans are unknown."""
        kind = each.column.type.datatype
        if each.is_bits and each.count == 1:
            # The standard puts a lone bit at the top of its byte (0x80), astropy lower (0x08).
            return flat != 0, None
        if each.is_bits:
            bits = np.unpackbits(flat.reshape(rows, -1), axis=1)[:, : each.count]
            return bits.reshape(-1).astype(bool), None
        if kind == "boolean":
            true, false = _TRUE[flat], _FALSE[flat]
            unknown = ~(true | false)
            return true, unknown if unknown.any() else None
        return flat.view(_DTYPES[kind]), None


def _parsed(texts: pa.Array, each: BinaryField, first_row: int) -> pa.Array:
    """Timestamps, which travel as text."""
    return parse_texts(texts, TextColumn(each.column), first_row)


def _bits_of(flat: NDArray[np.uint8], lengths: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bits of cells that each begin on a byte of their own."""
    bits = np.unpackbits(flat).astype(bool)
    within = np.arange(len(bits)) - np.repeat((np.cumsum(sizes) - sizes) * 8, sizes * 8)
    return bits[within < np.repeat(lengths, sizes * 8)]


def _low_bytes(flat: NDArray[np.uint8], kind: str) -> NDArray[np.bool_]:
    """Which bytes may be a padding NUL: all of char, and of unicodeChar the low half where the high half is NUL too."""
    if kind == "char":
        return np.ones(len(flat), bool)
    low = np.zeros(len(flat), bool)
    low[1::2] = flat[0::2] == 0
    return low
