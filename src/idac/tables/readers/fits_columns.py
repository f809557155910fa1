"""Columns of a FITS binary table: what TFORM and its companions mean, and their bytes made into Arrow arrays.

FITS 4.0 section 7.3; variable-length arrays section 7.3.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type
from idac.tables.model import Column, DataType, VOTableType
from idac.tables.readers import packed
from idac.tables.readers.fits_header import FitsHeader
from idac.tables.readers.source import ReadLimits

_TFORM = re.compile(r"(\d{0,10})([LXBIJKAEDCMPQ])(.*)", re.ASCII)
_HEAP_FORM = re.compile(r"([LXBIJKAEDCM])(?:\(\d*\))?", re.ASCII)
_TDIM = re.compile(r"\(\s*\d+\s*(,\s*\d+\s*)*\)", re.ASCII)
_SUBSTRING = re.compile(r"(\d+)", re.ASCII)
_TYPES: dict[str, VOTableType] = {
    "L": "boolean",
    "X": "boolean",
    "B": "unsignedByte",
    "I": "short",
    "J": "int",
    "K": "long",
    "A": "char",
    "E": "float",
    "D": "double",
    "C": "floatComplex",
    "M": "doubleComplex",
}
_DTYPES = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">f4", "M": ">f8"}
_SIZES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
#: TZERO of the other signedness (FITS 4.0, table 19), and the type that holds the result.
_OFFSETS: dict[str, tuple[int, VOTableType]] = {
    "B": (-128, "short"),
    "I": (2**15, "int"),
    "J": (2**31, "long"),
    "K": (2**63, "long"),
}
_DETAILS = ("TFORM", "TDISP", "TNULL", "TDIM", "TSCAL", "TZERO")


@dataclass(frozen=True, slots=True)
class FitsColumn:
    """One column's place and packing in a row."""

    column: Column
    #: Element type, of the heap's elements for a variable-length array.
    code: str
    repeat: int
    offset: int
    width: int
    #: ``P`` or ``Q`` where the row holds only a length and a place in the heap.
    descriptor: str | None
    null: int | None
    scale: float
    zero: float
    #: Width of each string where the field holds several.
    substring: int | None = None

    @property
    def is_scaled(self) -> bool:
        return (self.scale, self.zero) != (1, 0)

    def bytes_of(self, count: int) -> int:
        return (count + 7) // 8 if self.code == "X" else count * _SIZES[self.code]


def read_columns(header: FitsHeader, limits: ReadLimits) -> list[FitsColumn]:
    """The columns that a BINTABLE's header describes; BadData where it contradicts itself."""
    count = header.whole("TFIELDS")
    limits.check_columns(count)
    columns: list[FitsColumn] = []
    offset = 0
    for number in range(1, count + 1):
        column = _read_column(header, number, offset, limits)
        columns.append(column)
        offset += column.width
    if offset > header.whole("NAXIS1"):
        raise BadData(
            "The FITS table's columns are wider than its rows.",
            value=f"{offset} bytes of columns",
            allowed=f"at most {header.whole('NAXIS1')} bytes, as NAXIS1 says",
            next_step="The header is damaged; write or send the file again.",
        )
    return columns


def described(header: FitsHeader, number: int, kind: DataType) -> Column:
    """The column's metadata from the TTYPE family of cards; TUCD, TUTYP and TCOMM are conventions, kept by STIL."""
    return Column(
        header.text(f"TTYPE{number}") or f"col{number}",
        kind,
        unit=header.text(f"TUNIT{number}"),
        ucd=header.text(f"TUCD{number}"),
        utype=header.text(f"TUTYP{number}"),
        description=header.text(f"TCOMM{number}"),
    )


def column_details(header: FitsHeader, number: int) -> dict[str, str]:
    """What the header says of a column and Column has no place for."""
    return {key: str(header.values[f"{key}{number}"]) for key in _DETAILS if f"{key}{number}" in header.values}


def _read_column(header: FitsHeader, number: int, offset: int, limits: ReadLimits) -> FitsColumn:
    form = (header.text(f"TFORM{number}") or "").upper()
    found = _TFORM.fullmatch(form)
    if not found:
        raise _bad_form(number, form)
    repeat = int(found.group(1)) if found.group(1) else 1
    code, rest = found.group(2), found.group(3).strip()
    descriptor = None
    if code in "PQ":
        descriptor = code
        inner = _HEAP_FORM.match(rest)
        if not inner or repeat > 1:
            raise _bad_form(number, form)
        code = inner.group(1)
        width = repeat * _SIZES[descriptor]
    else:
        width = (repeat + 7) // 8 if code == "X" else repeat * _SIZES[code]
    limits.check_cell(width, header.text(f"TTYPE{number}") or f"col{number}", 1)
    scale, zero = header.number(f"TSCAL{number}", 1), header.number(f"TZERO{number}", 0)
    if code in "LXA":
        scale, zero = 1, 0
    substring = _substring_width(header, number, code, repeat, rest) if descriptor is None else None
    kind = _data_type(header, number, code, repeat, descriptor, scale, zero, substring)
    null = header.values.get(f"TNULL{number}")
    return FitsColumn(
        described(header, number, kind),
        code,
        repeat,
        offset,
        width,
        descriptor,
        null if isinstance(null, int) and not isinstance(null, bool) and code in "BIJK" else None,
        scale,
        zero,
        substring,
    )


def _bad_form(number: int, form: str) -> BadData:
    return BadData(
        f"The FITS header's TFORM{number} can't be used.",
        value=form or "(missing)",
        allowed="a repeat count and one of L X B I J K A E D C M, or P or Q with one of these",
        next_step="The header is damaged; write or send the file again.",
    )


def _substring_width(header: FitsHeader, number: int, code: str, repeat: int, rest: str) -> int | None:
    """Width of each string in an array of strings: TDIM's first axis, or ``rAw`` (FITS 4.0 appendix C)."""
    if code != "A":
        return None
    axes = _axes(header, number, repeat)
    if len(axes) > 1:
        return axes[0]
    found = _SUBSTRING.match(rest)
    width = int(found.group(1)) if found else 0
    return width if 0 < width < repeat and repeat % width == 0 else None


def _axes(header: FitsHeader, number: int, repeat: int) -> list[int]:
    text = header.text(f"TDIM{number}") or ""
    if not _TDIM.fullmatch(text):
        return []
    axes = [int(part) for part in text.strip("()").split(",")]
    product = 1
    for axis in axes:
        product *= axis
    return axes if product == repeat and product > 0 else []


def _data_type(
    header: FitsHeader,
    number: int,
    code: str,
    repeat: int,
    descriptor: str | None,
    scale: float,
    zero: float,
    substring: int | None,
) -> DataType:
    kind = _TYPES[code]
    if (scale, zero) != (1, 0):
        offset, wider = _OFFSETS.get(code, (0, kind))
        kind = wider if (scale, zero) == (1, offset) and offset else _scaled_type(code, kind)
    if descriptor is not None:
        return DataType(kind, "*")
    if repeat == 0:
        return DataType("char", "*")
    if code == "A":
        return DataType(kind, f"{repeat}*" if substring is None else f"{substring}x{repeat // substring}")
    if repeat == 1:
        return DataType(kind)
    axes = _axes(header, number, repeat)
    return DataType(kind, "x".join(map(str, axes)) if axes else str(repeat))


def _scaled_type(code: str, kind: VOTableType) -> VOTableType:
    return kind if code in "CM" else "double"


class FitsDecoder:
    """Rows of bytes made into arrays, a column at a time."""

    def __init__(self, row_bytes: int, limits: ReadLimits) -> None:
        self._row_bytes = row_bytes
        self._limits = limits

    def fixed(self, rows: NDArray[np.uint8], each: FitsColumn, first_row: int) -> pa.Array:
        """The column in *rows* (a matrix, one row of the table in each)."""
        target = arrow_type(each.column.type)
        count = len(rows)
        if each.repeat == 0:
            return pa.nulls(count, target)
        if each.code == "A":
            cells = rows[:, each.offset : each.offset + each.width]
            if each.substring is None:
                return packed.fixed_texts(cells)
            return _string_arrays(cells, each.substring)
        if each.code == "X":
            bits = np.unpackbits(rows[:, each.offset : each.offset + each.width], axis=1)[:, : each.repeat]
            flat = bits.astype(bool).reshape(-1)
            return pa.array(flat) if each.repeat == 1 else packed.fixed_lists(flat, count, target)
        flat, unknown = self._values(self._view(rows, each), each, first_row, each.repeat)
        if pa.types.is_fixed_size_list(target) and not (each.repeat == 1 and each.code not in "CM"):
            return packed.fixed_lists(flat, count, target)
        return packed.scalar_array(flat, target, unknown)

    def _view(self, rows: NDArray[np.uint8], each: FitsColumn) -> packed.Values:
        """The column's numbers, gathered from the rows and in this machine's byte order, in one pass."""
        dtype = np.dtype(_DTYPES[each.code])
        items = each.width // dtype.itemsize
        shape = (len(rows), items)
        strided: packed.Values = np.ndarray(shape, dtype, rows, each.offset, (self._row_bytes, dtype.itemsize))
        return np.ascontiguousarray(strided, dtype.newbyteorder("=")).reshape(-1)

    def _values(
        self, flat: packed.Values, each: FitsColumn, first_row: int, per_row: int
    ) -> tuple[packed.Values, packed.Mask]:
        """Elements after TNULL, TSCAL and TZERO, and which of them are null."""
        if each.code == "L":
            true = flat == ord("T")
            unknown = ~(true | (flat == ord("F")))
            return true, unknown if unknown.any() else None
        unknown = None
        if each.null is not None:
            unknown = flat == each.null
            unknown = unknown if unknown.any() else None
        if each.is_scaled:
            flat = self._scaled(flat, each, unknown, first_row, per_row)
        return flat, unknown

    def _scaled(
        self, flat: packed.Values, each: FitsColumn, unknown: packed.Mask, first_row: int, per_row: int
    ) -> packed.Values:
        offset = _OFFSETS.get(each.code, (0, ""))[0]
        if offset and (each.scale, each.zero) == (1, offset):
            return self._reflected(flat, each, unknown, first_row, per_row)
        scaled: packed.Values = flat.astype(np.float64) * each.scale
        if each.code in "CM":
            scaled[0::2] += each.zero
            narrowed: packed.Values = scaled.astype(flat.dtype)
            return narrowed
        scaled += each.zero
        return scaled

    def _reflected(
        self, flat: packed.Values, each: FitsColumn, unknown: packed.Mask, first_row: int, per_row: int
    ) -> packed.Values:
        """The unsigned integers (and signed bytes) that FITS writes with an offset."""
        if each.code == "K":
            beyond = flat >= 0 if unknown is None else (flat >= 0) & ~unknown
            if beyond.any():
                place = int(beyond.argmax())
                raise BadData(
                    f"Row {first_row + place // max(1, per_row)}: the value of column {each.column.name} "
                    "is an unsigned 64-bit integer that is too big.",
                    value=int(flat[place]) + 2**63,
                    allowed=f"integers up to {2**63 - 1}",
                    next_step="Write the column as text, or as signed integers.",
                )
            return np.bitwise_xor(flat, np.int64(-(2**63)))
        wider = {"B": np.int16, "I": np.int32, "J": np.int64}[each.code]
        widened: packed.Values = flat.astype(wider) + wider(each.zero)
        return widened

    def varying(
        self, heap: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], each: FitsColumn, row: int
    ) -> pa.Array:
        """A variable-length column whose cells are at *starts* in *heap*; *lengths* count elements."""
        target = arrow_type(each.column.type)
        sizes = (lengths + 7) // 8 if each.code == "X" else lengths * _SIZES[each.code]
        flat = packed.gather(heap, starts, sizes)
        if each.code == "A":
            return packed.varying_texts(flat, lengths)
        mask = lengths == 0
        null = mask if mask.any() else None
        if each.code == "X":
            bits = np.unpackbits(flat).astype(bool)
            within = np.arange(len(bits)) - np.repeat((np.cumsum(sizes) - sizes) * 8, sizes * 8)
            return packed.varying_lists(bits[within < np.repeat(lengths, sizes * 8)], lengths, target, null)
        numbers = flat.view(_DTYPES[each.code])
        native = numbers.astype(numbers.dtype.newbyteorder("="))
        values, _ = self._values(native, each, row, 1)
        return packed.varying_lists(values, lengths, target, null)


def _string_arrays(cells: NDArray[np.uint8], width: int) -> pa.Array:
    """Each field's strings of *width* characters; one that is all blank is an empty string."""
    rows, total = cells.shape
    count = total // width
    texts = packed.fixed_texts(np.ascontiguousarray(cells).reshape(rows * count, width), empty_is_null=False)
    offsets = pa.array(np.arange(0, rows * count + 1, count, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, texts)
