"""Astropy's YAML description of a table, which heads ECSV files and rides in its Parquet files."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import yaml

from idac.core.errors import BadData
from idac.tables.model import Column, DataType, VOTableType
from idac.tables.readers.source import ReadLimits, TableInfo

#: ECSV 1.0, datatype; and what Parquet files from astropy add.
_TYPES: dict[str, VOTableType] = {
    "bool": "boolean",
    "int8": "short",
    "int16": "short",
    "int32": "int",
    "int64": "long",
    "uint8": "unsignedByte",
    "uint16": "int",
    "uint32": "long",
    "uint64": "long",
    "float16": "float",
    "float32": "float",
    "float64": "double",
    "float128": "double",
    "complex64": "floatComplex",
    "complex128": "doubleComplex",
    "complex256": "doubleComplex",
    "string": "char",
}
#: The parser takes about 5 s for 1 MB; 10 000 columns with their descriptions are less than this.
_MAX_YAML = 4 * 2**20
#: Several for each of the most columns that a table may have: astropy writes one unit once and names it elsewhere.
_MAX_ALIASES = 50_000
#: Characters of a text that is named again elsewhere; astropy does so with mappings, and with numbers of NumPy's.
_MAX_ALIASED = 200
#: Characters of a number. Longer ones take Python longer than they are worth, or more digits than it converts.
_MAX_NUMBER = 64
_MAX_SHOWN = 10_000
_MAX_DEPTH = 20
#: Brackets within each other.
_MAX_FLOWS = 100
#: Characters of all remarks, and entries of one column's meta that are looked at.
_MAX_REMARKS = 2**20
_MAX_ENTRIES = 1000
_MAX_NAME = 1000
_MAX_DESCRIPTION = 100_000


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Data only. Tags of Python objects (astropy's units, times) become the plain mapping or text below them."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases beyond need: a few lines of them can stand for gigabytes."""
        is_alias = self.check_event(yaml.AliasEvent)
        if is_alias:
            self._aliases = getattr(self, "_aliases", 0) + 1
            if self._aliases > _MAX_ALIASES:
                raise yaml.YAMLError("too many aliases")
        node = super().compose_node(parent, index)
        if is_alias and isinstance(node, yaml.ScalarNode) and len(node.value) > _MAX_ALIASED:
            raise yaml.YAMLError("an alias of a long text")
        return node

    def fetch_flow_collection_start(self, kind: type[yaml.Token]) -> None:
        """Refuse brackets in brackets beyond need: the scanner's time grows with the square of their depth."""
        if self.flow_level > _MAX_FLOWS:
            raise yaml.YAMLError("too many brackets within each other")
        super().fetch_flow_collection_start(kind)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys, which copy what they merge, level by level."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("merge keys are not read")
        super().flatten_mapping(node)


def _plain(loader: Any, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def _number(loader: Any, node: yaml.Node) -> Any:
    """A number as YAML reads it, and as the text that it is where it is longer than numbers are."""
    if len(node.value) > _MAX_NUMBER:
        return loader.construct_scalar(node)
    whole = node.tag == "tag:yaml.org,2002:int"
    return loader.construct_yaml_int(node) if whole else loader.construct_yaml_float(node)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _number)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _number)
_PlainLoader.add_multi_constructor("!", _plain)
_PlainLoader.add_multi_constructor("tag:", _plain)


def read_table_yaml(text: bytes, limits: ReadLimits) -> TableInfo:
    """The columns and remarks that the YAML tells; BadData for what is no such YAML."""
    most = min(limits.max_header_bytes, _MAX_YAML)
    if len(text) > most:
        raise _bad(f"{len(text)} bytes", f"at most {most} bytes")
    try:
        root = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that makes plain data of every tag
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
    ) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1} of the header" if mark is not None else type(error).__name__
        raise _bad(where, "YAML as ECSV describes it") from error
    described = root.get("datatype") if isinstance(root, dict) else None
    if not isinstance(described, list):
        raise _bad("no list of columns", "a mapping with the key datatype")
    limits.check_columns(len(described))
    columns = tuple(_column(entry, limits) for entry in described)
    entries = list(_remarks(root.get("meta")))
    description = next((value for key, value in entries if key.lower() == "description"), None)
    name = next((value for key, value in entries if key.lower() in ("name", "extname")), None)
    return TableInfo(
        columns, name=name, description=description, comments=tuple(f"{key}: {value}" for key, value in entries)
    )


def delimiter_of(text: bytes) -> str:
    """The column separator that an ECSV header declares: a blank unless it says comma."""
    for line in text.splitlines():
        key, _, value = line.decode("utf-8", "replace").strip().removeprefix("- !!omap").partition(":")
        if key.strip("- ") == "delimiter":
            return "," if "," in value else " "
    return " "


def _entries(meta: Any) -> Iterator[tuple[Any, Any]]:
    """The entries of a mapping, or of a list of one-entry mappings, which is YAML's ordered map."""
    if isinstance(meta, dict):
        yield from meta.items()
    for entry in meta if isinstance(meta, list) else []:
        if isinstance(entry, dict):
            yield from entry.items()
        elif isinstance(entry, tuple) and len(entry) == 2:
            yield entry


def _remarks(meta: Any) -> Iterator[tuple[str, str]]:
    """Each entry as text, as far as all of them stay of bounded length."""
    left = _MAX_REMARKS
    for key, value in _entries(meta):
        told = _shown(key), _shown(value)
        left -= sum(map(len, told)) + 2
        if left < 0:
            return
        yield told


def _shown(value: Any) -> str:
    """A text of bounded length, whatever aliases make of a value's insides: no more is made than is shown."""
    if isinstance(value, str):
        return value[:_MAX_SHOWN]
    parts: list[str] = []
    size = 0
    for piece in _pieces(value, _MAX_DEPTH):
        parts.append(piece)
        size += len(piece)
        if size >= _MAX_SHOWN:
            break
    return "".join(parts)[:_MAX_SHOWN]


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """What ``repr`` says of a value, a bit at a time."""
    if not isinstance(value, dict | list | tuple | set):
        yield repr(value[:_MAX_SHOWN] if isinstance(value, str | bytes) else value)
        return
    if depth == 0:
        yield "..."
        return
    opening, closing = {dict: ("{", "}"), list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}")}[type(value)]
    yield opening
    for number, entry in enumerate(value):
        if number:
            yield ", "
        yield from _pieces(entry, depth - 1)
        if isinstance(value, dict):
            yield ": "
            yield from _pieces(value[entry], depth - 1)
    yield closing


def _text(entry: dict[Any, Any], key: str, most: int = _MAX_NAME) -> str | None:
    """The text, number or date under *key*, and nothing that is made of others; None where there is none."""
    value = entry.get(key)
    if value is None or value == "":
        return None
    is_single = isinstance(value, str | int | float | datetime.date)
    text = str(value) if is_single else ""
    if not is_single or len(text) > most:
        raise _bad(f"the {key} {_shown(value)}", f"a text of at most {most} characters for the {key} of a column")
    return text


def _column(entry: Any, limits: ReadLimits) -> Column:
    name = _text(entry, "name") if isinstance(entry, dict) else None
    if name is None or not isinstance(entry.get("datatype"), str):
        raise _bad(_shown(entry), "a name and a datatype for each column")
    unit = entry.get("unit")
    meta = {k: v for k, v in islice(_entries(entry.get("meta")), _MAX_ENTRIES) if k in ("ucd", "utype")}
    return Column(
        name,
        _data_type(name, entry["datatype"], _text(entry, "subtype"), limits),
        unit=_text(unit if isinstance(unit, dict) else entry, "unit"),
        ucd=_text(meta, "ucd"),
        utype=_text(meta, "utype"),
        description=_text(entry, "description", _MAX_DESCRIPTION),
    )


def _data_type(name: str, datatype: str, subtype: str | None, limits: ReadLimits) -> DataType:
    kind = _TYPES.get(datatype)
    if kind is None:
        raise _bad(f"column {name} has the datatype {datatype}", ", ".join(_TYPES))
    if kind != "char" or subtype is None or subtype == "json":
        return DataType(kind, "*" if kind == "char" else None)
    base, _, shape = subtype.partition("[")
    element = _TYPES.get(base)
    sizes = [size.strip() for size in shape.rstrip("]").split(",")] if shape else []
    if element is None or element == "char":
        # Arrays of text, and subtypes of later versions, stay the JSON text that they are.
        return DataType("char", "*")
    if not sizes or "null" in sizes:
        return DataType(element, "*") if len(sizes) < 2 else DataType("char", "*")
    if not all(size.isdecimal() and len(size) < _MAX_NUMBER for size in sizes) or not (
        0 < math.prod(map(int, sizes)) <= limits.max_cell_bytes
    ):
        raise _bad(f"column {name} has the subtype {subtype}", "a shape of positive numbers, or null")
    return DataType(element, "x".join(reversed(sizes)))


def _bad(value: str, allowed: str) -> BadData:
    return BadData(
        "The table's YAML header can't be used.",
        value=value,
        allowed=allowed,
        next_step="Write the file again with a tool that knows the format, such as astropy.",
    )
