"""Astropy's YAML description of a table, which heads ECSV files and rides in its Parquet files."""

from __future__ import annotations

from reprlib import Repr
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
_MAX_ALIASES = 1000
_MAX_SHOWN = 10_000
_SHORT = Repr(maxlevel=4, maxdict=50, maxlist=50, maxtuple=50, maxstring=2000, maxother=200)


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Data only. Tags of Python objects (astropy's units, times) become the plain mapping or text below them."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases beyond need: a few lines of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            self._aliases = getattr(self, "_aliases", 0) + 1
            if self._aliases > _MAX_ALIASES:
                raise yaml.YAMLError("too many aliases")
        return super().compose_node(parent, index)

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


_PlainLoader.add_multi_constructor("!", _plain)
_PlainLoader.add_multi_constructor("tag:", _plain)


def read_table_yaml(text: bytes, limits: ReadLimits) -> TableInfo:
    """The columns and remarks that the YAML tells; BadData for what is no such YAML."""
    if len(text) > limits.max_header_bytes:
        raise _bad("it is too long", f"at most {limits.max_header_bytes} bytes (max_header_bytes)")
    try:
        root = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that makes plain data of every tag
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, UnicodeError, AttributeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1} of the header" if mark is not None else type(error).__name__
        raise _bad(where, "YAML as ECSV describes it") from error
    described = root.get("datatype") if isinstance(root, dict) else None
    if not isinstance(described, list):
        raise _bad("no list of columns", "a mapping with the key datatype")
    limits.check_columns(len(described))
    columns = tuple(_column(entry, limits) for entry in described)
    meta = root.get("meta")
    entries = _pairs(meta)
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


def _pairs(meta: Any) -> list[tuple[str, str]]:
    """The entries of a mapping, or of a list of one-entry mappings, which is YAML's ordered map."""
    if isinstance(meta, dict):
        return [(str(key), _shown(value)) for key, value in meta.items()]
    found: list[tuple[str, str]] = []
    for entry in meta if isinstance(meta, list) else []:
        if isinstance(entry, dict):
            found += [(str(key), _shown(value)) for key, value in entry.items()]
        elif isinstance(entry, tuple) and len(entry) == 2:
            found.append((str(entry[0]), _shown(entry[1])))
    return found


def _shown(value: Any) -> str:
    """A text of bounded length, whatever aliases make of a value's insides."""
    return value[:_MAX_SHOWN] if isinstance(value, str) else _SHORT.repr(value)[:_MAX_SHOWN]


def _column(entry: Any, limits: ReadLimits) -> Column:
    if not isinstance(entry, dict) or not entry.get("name") or not isinstance(entry.get("datatype"), str):
        raise _bad(_shown(entry), "a name and a datatype for each column")
    name = str(entry["name"])
    meta = dict(_pairs(entry.get("meta")))
    unit = entry.get("unit")
    if isinstance(unit, dict):
        unit = unit.get("unit")
    description = entry.get("description")
    return Column(
        name,
        _data_type(name, entry["datatype"], entry.get("subtype"), limits),
        unit=str(unit) if unit else None,
        ucd=meta.get("ucd"),
        utype=meta.get("utype"),
        description=str(description) if description else None,
    )


def _data_type(name: str, datatype: str, subtype: Any, limits: ReadLimits) -> DataType:
    kind = _TYPES.get(datatype)
    if kind is None:
        raise _bad(f"column {name} has the datatype {datatype}", ", ".join(_TYPES))
    if kind != "char" or not isinstance(subtype, str) or subtype == "json":
        return DataType(kind, "*" if kind == "char" else None)
    base, _, shape = subtype.partition("[")
    element = _TYPES.get(base)
    sizes = [size.strip() for size in shape.rstrip("]").split(",")] if shape else []
    if element is None or element == "char":
        # Arrays of text, and subtypes of later versions, stay the JSON text that they are.
        return DataType("char", "*")
    if not sizes or "null" in sizes:
        return DataType(element, "*") if len(sizes) < 2 else DataType("char", "*")
    if not all(size.isdecimal() and 0 < int(size) <= limits.max_cell_bytes for size in sizes):
        raise _bad(f"column {name} has the subtype {subtype}", "a shape of positive numbers, or null")
    return DataType(element, "x".join(reversed(sizes)))


def _bad(value: str, allowed: str) -> BadData:
    return BadData(
        "The table's YAML header can't be used.",
        value=value,
        allowed=allowed,
        next_step="Write the file again with a tool that knows the format, such as astropy.",
    )
