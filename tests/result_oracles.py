"""What other readers find in a result: astropy, pyarrow and STILTS, each as plain Python values by column."""

from __future__ import annotations

import io
import json
import math
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.votable import parse
from astropy.io.votable.tree import TableElement, VOTableFile

from idac.tables.model import Column

type Found = dict[str, list[Any]]


def votable(data: bytes) -> VOTableFile:
    """The document as astropy reads it where it forgives nothing."""
    return parse(io.BytesIO(data), verify="exception")


def votable_table(data: bytes) -> TableElement:
    return votable(data).get_first_table()


def votable_rows(data: bytes) -> Found:
    """Columns as astropy's VOTable reader has them; what it masks is None, which NaN is too."""
    array = votable_table(data).array
    return {
        name: [_plain(value, mask) for value, mask in zip(array[name].data, array[name].mask, strict=True)]
        for name in array.dtype.names
    }


def fits_rows(data: bytes) -> Found:
    """Columns as astropy's FITS reader has them: TNULL and the NUL of a logical are None, NaN is NaN."""
    # Whether logicals have NULL is seen in their bytes alone.
    with fits.open(io.BytesIO(data), logical_as_bytes=True) as hdus:
        hdus.verify("exception")
        table = hdus[1]
        return {
            column.name: [_unnulled(_plain(value, False), column) for value in table.data[column.name]]
            for column in table.columns
        }


def _unnulled(value: Any, column: fits.Column) -> Any:
    if isinstance(value, list):
        if column.format.endswith("A"):
            return value
        inner = [_unnulled(v, column) for v in value]
        return None if inner and all(v is None for v in inner) and column.null is not None else inner
    if isinstance(value, bytes):
        return {b"T": True, b"F": False, b"\0": None, b"": None}[value]
    return None if column.null is not None and value == column.null else value


def _plain(value: Any, mask: Any) -> Any:
    if np.all(mask) and np.size(mask):
        return None
    if isinstance(value, np.ndarray):
        flat = np.ma.filled(value) if isinstance(value, np.ma.MaskedArray) else value
        return flat.reshape(-1).tolist()
    return value.item() if isinstance(value, np.generic) else value


def stilts(*arguments: str) -> bytes:
    """What a STILTS task writes; its complaints fail the test."""
    done = subprocess.run(["stilts", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()
    return done.stdout


def votlint(data: bytes, folder: Path) -> list[str]:
    """STILTS votlint's complaints about a document."""
    path = folder / "lint.vot"
    path.write_bytes(data)
    done = subprocess.run(["stilts", "votlint", str(path)], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode().split("\n")[:-1]


def stilts_rows(data: bytes, folder: Path, kind: str) -> Found:
    """Columns as STILTS reads them from *kind* of file, sent on as a VOTable of its own."""
    path = folder / f"in.{kind}"
    path.write_bytes(data)
    sent = stilts("tpipe", f"in={path}", f"ifmt={kind}", "cmd=clearparams *", "ofmt=votable-binary2-inline")
    with warnings.catch_warnings():
        # STILTS writes null as an undeclared value of integers, and UCDs as they came.
        warnings.simplefilter("ignore")
        array = parse(io.BytesIO(sent)).get_first_table().array
    return {
        name: [_plain(value, mask) for value, mask in zip(array[name].data, array[name].mask, strict=True)]
        for name in array.dtype.names
    }


def expected(
    sample: Sequence[tuple[Column, list[Any]]], *, nan_is_null: bool = False, empty_is_null: bool = False
) -> Found:
    """A sample's values as a reader should find them, with what a format can't tell apart made one."""
    return {c.name: [_expected(c, v, nan_is_null, empty_is_null) for v in values] for c, values in sample}


def _expected(column: Column, value: Any, nan_is_null: bool, empty_is_null: bool) -> Any:
    kind = column.type
    if value is None:
        return None
    if kind.is_timestamp:
        return value
    if kind.datatype in ("char", "unicodeChar"):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, list) else value
        return None if empty_is_null and text == "" else text
    if isinstance(value, bytes):
        value = list(value)
    if kind.datatype.endswith("Complex"):
        value = complex(*value) if kind.arraysize is None else [complex(*v) for v in value]
    if isinstance(value, list):
        if empty_is_null and not value:
            return None
        return [_number(v, kind.datatype) for v in value]
    if nan_is_null and isinstance(value, float) and math.isnan(value):
        return None
    return _number(value, kind.datatype)


def _number(value: Any, datatype: str) -> Any:
    if datatype == "float":
        return float(np.float32(value))
    return complex(np.complex64(value)) if datatype == "floatComplex" else value


def alike(found: Any, wanted: Any) -> bool:
    """Equality in which NaN is NaN, True is not 1, and tuples are lists."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(alike(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(alike, found, wanted))
    if isinstance(wanted, float) and math.isnan(wanted):
        return isinstance(found, float) and math.isnan(found)
    return type(found) is type(wanted) and found == wanted


def assert_alike(found: Found, wanted: Found) -> None:
    """Column by column, so that a failure shows the one that differs."""
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert alike(found[name], values), f"{name}: {found[name]!r} is not {values!r}"
