"""Felis YAML and the table model, both ways: the metadata that a publisher edits, and TAP_SCHEMA's only source.

Felis (felis.lsst.io) is Rubin's schema language. Its own library validates every document that comes in; documents
that the archive keeps stand alone, their ``resources`` and ``columnRefs`` already resolved.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError
from ruamel.yaml import YAML

from idac.core.errors import BadData, NotFound, Position, UserError
from idac.core.lazy import LazyModule
from idac.tables.model import Column, DataType, ForeignKey, Schema, Table, VOTableType

if TYPE_CHECKING:
    from astropy import units
    from felis import datamodel
    from lsst import resources
else:
    datamodel, units, resources = (
        LazyModule("felis.datamodel"),
        LazyModule("astropy.units"),
        LazyModule("lsst.resources"),
    )

#: Felis datatype of each VOTable type that it has a name for; the rest are told apart by votable:datatype.
_FELIS_NAMES: dict[str, str] = {
    "boolean": "boolean",
    "unsignedByte": "byte",
    "short": "short",
    "int": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "floatComplex": "float",
    "doubleComplex": "double",
}
_VOTABLE_NAMES: dict[str, VOTableType] = {
    "boolean": "boolean",
    "byte": "unsignedByte",
    "short": "short",
    "int": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "char": "char",
    "string": "char",
    "text": "char",
    "unicode": "unicodeChar",
    "binary": "unsignedByte",
    "timestamp": "char",
}
_CONTEXT = {"id_generation": True, "dereference_resources": True}
_MAX_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Gap:
    """Something the metadata lacks or could not carry, for the publisher to mend."""

    column: str | None
    missing: str

    def __str__(self) -> str:
        return f"{self.column}: {self.missing}" if self.column else self.missing


def read_felis(source: str | Path) -> Schema:
    """The schema in a Felis file, or in a text of several lines; ``resources`` are read from beside the file.

    Raises BadData with the line and column of what Felis does not accept.
    """
    path = source if isinstance(source, Path) else None
    text = _read_text(path) if path else str(source)
    name = path.name if path else None
    data = _load_yaml(text, name)
    _require_known_words(data, text, name)
    try:
        # Not the library's own from_uri, whose YAML parser takes seconds for a thousand columns.
        context: dict[str, Any] = dict(_CONTEXT)
        if path:
            context["resource_path"] = resources.ResourcePath(str(path), forceAbsolute=False)
        document: Any = datamodel.Schema.model_validate(data, context=context)
    except ValidationError as error:
        raise _validation_error(error, text, name) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # The library's own validators stumble over parts that are missing or of another kind.
        why = f"the key {error} is missing" if isinstance(error, KeyError) else _first_line(error)
        raise BadData(
            f"{name or 'The text'} is not a valid Felis schema: {why}.",
            allowed="what https://felis.lsst.io describes",
            next_step="Correct the schema and run the command again.",
        ) from None
    return _schema(document)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else BadData
        raise kind(
            "The Felis file can't be read.",
            value=f"{path} ({error.strerror})",
            allowed="a readable YAML file",
            next_step="Check the name and its permissions.",
        ) from None
    except UnicodeDecodeError:
        raise BadData("The Felis file is not UTF-8 text.", value=path, allowed="YAML in UTF-8") from None


def _load_yaml(text: str, name: str | None) -> Mapping[str, Any]:
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe in both forms
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(mark.line + 1, mark.column + 1, name) if mark else None
        raise BadData(
            f"This is not YAML: {error.problem or error.context}.",
            allowed="a Felis schema in YAML",
            next_step="Correct the text at this place.",
            position=where,
        ) from None
    if not isinstance(data, dict):
        raise BadData(
            "The Felis text holds no schema.",
            value=repr(data) if not isinstance(data, str) else data,
            allowed="a mapping with name and tables",
            next_step="See https://felis.lsst.io for the form.",
        )
    return data


def _require_known_words(data: Mapping[str, Any], text: str, name: str | None) -> None:
    """The commonest slips, told with their places and alternatives, which the library does not give for them."""
    tables = data.get("tables")
    for number, table in enumerate(tables if isinstance(tables, list) else []):
        columns = table.get("columns") if isinstance(table, dict) else None
        for place, column in enumerate(columns if isinstance(columns, list) else []):
            if not isinstance(column, dict):
                continue
            of = f"The column {column.get('name')} of {table.get('name')}"
            found = _unknown_type(column, of) or _unknown_unit(column, of) or _unknown_ucd(column, of)
            if found:
                key, error = found
                error.position = _position(text, ("tables", number, "columns", place, key), name)
                raise error


def _unknown_type(column: Mapping[str, Any], of: str) -> tuple[str, BadData] | None:
    given = column.get("datatype")
    if given is None or given in _VOTABLE_NAMES:
        return None
    near = difflib.get_close_matches(str(given), _VOTABLE_NAMES, 1)
    return "datatype", BadData(
        f"{of} has a datatype that Felis does not know.",
        value=given,
        allowed=", ".join(_VOTABLE_NAMES),
        next_step=f"Did you mean {near[0]}?" if near else "Choose one of these.",
    )


def _unknown_unit(column: Mapping[str, Any], of: str) -> tuple[str, BadData] | None:
    for key in ("ivoa:unit", "fits:tunit"):
        given = column.get(key)
        if not isinstance(given, str):
            continue
        try:
            units.Unit(given)
        except (ValueError, TypeError) as error:
            near = re.search(r"Did you mean (.+?)\?", str(error))
            return key, BadData(
                f"{of} has a unit that is not known.",
                value=given,
                allowed="a unit as FITS and VOUnits write it, such as deg, mas/yr, nJy, mag, or no unit at all",
                next_step=f"Did you mean {near[1]}?" if near else "Correct it, or leave the unit out.",
            )
    return None


def _unknown_ucd(column: Mapping[str, Any], of: str) -> tuple[str, BadData] | None:
    given = column.get("ivoa:ucd")
    if not isinstance(given, str) or not given:
        return None
    try:
        datamodel.validate_ivoa_ucd(given)
    except ValueError as error:
        why = _first_line(error).removeprefix("Invalid IVOA UCD: ")
        return "ivoa:ucd", BadData(
            f"{of} has a UCD that is not in the IVOA's vocabulary: {why}.",
            value=given,
            allowed="words of UCD1+, such as pos.eq.ra;meta.main or phot.mag;em.opt.V",
            next_step="Correct it, or leave the UCD out.",
        )
    return None


def _validation_error(error: ValidationError, text: str, name: str | None) -> UserError:
    problems = error.errors(include_url=False, include_context=False)
    parts = [f"{_place(p['loc'])}{p['msg'].removeprefix('Value error, ')}" for p in problems[:_MAX_ERRORS]]
    if len(problems) > _MAX_ERRORS:
        parts.append(f"and {len(problems) - _MAX_ERRORS} more")
    return BadData(
        f"The Felis schema is not valid: {'; '.join(parts)}.",
        allowed="what https://felis.lsst.io describes",
        next_step="Correct the schema and run the command again.",
        position=_position(text, problems[0]["loc"], name),
    )


def _place(location: Sequence[int | str]) -> str:
    return f"{'.'.join(str(part) for part in location)}: " if location else ""


def _position(text: str, location: Sequence[int | str], name: str | None) -> Position | None:
    """Where in the YAML text the thing at *location* stands, as near as the document goes."""
    node: Any = YAML(typ="rt").load(io.StringIO(text))
    found: tuple[int, int] | None = None
    for part in location:
        marks = getattr(node, "lc", None)
        try:
            found = marks.data[part][:2] if marks is not None else found
            node = node[part]
        except (KeyError, IndexError, TypeError):
            break
    return Position(found[0] + 1, found[1] + 1, name) if found else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".")


def _schema(document: Any) -> Schema:
    owners = {column.id: (table.name, column.name) for table in document.tables for column in table.columns}
    tables = tuple(_table(document.name, table, owners) for table in document.tables)
    return Schema(document.name, tables, document.description, document.votable_utype)


def _table(schema: str, table: datamodel.Table, owners: Mapping[str, tuple[str, str]]) -> Table:
    keys = [table.primary_key] if isinstance(table.primary_key, str) else table.primary_key or []
    primary = tuple(owners[key][1] if key in owners else key.rpartition(".")[2] for key in keys)
    indexed = {owners[c][1] for index in table.indexes for c in (index.columns or [])[:1] if c in owners}
    columns = tuple(_column(c, indexed=c.name in indexed) for c in table.columns)
    foreign = tuple(
        _foreign_key(schema, constraint, owners)
        for constraint in table.constraints
        if isinstance(constraint, datamodel.ForeignKeyConstraint)
    )
    return Table(
        schema,
        table.name,
        columns,
        table.description,
        table.votable_utype,
        table.tap_table_index,
        foreign,
        primary,
        id_column=primary[0] if len(primary) == 1 else None,
    )


def _foreign_key(
    schema: str, constraint: datamodel.ForeignKeyConstraint, owners: Mapping[str, tuple[str, str]]
) -> ForeignKey:
    unknown = [c for c in (*constraint.columns, *constraint.referenced_columns) if c not in owners]
    if unknown:
        near = difflib.get_close_matches(unknown[0], owners, 1)
        raise BadData(
            f"The foreign key {constraint.name} names a column that the schema does not have.",
            value=unknown[0],
            allowed=f"a column's @id, such as {near[0]}" if near else "the @id of a column of this schema",
            next_step="Correct the key's columns or referencedColumns.",
        )
    targets = [owners[c] for c in constraint.referenced_columns]
    return ForeignKey(
        constraint.name,
        tuple(owners[c][1] for c in constraint.columns),
        schema,
        targets[0][0],
        tuple(name for _, name in targets),
        constraint.description,
        constraint.votable_utype,
    )


def _column(column: datamodel.Column, *, indexed: bool) -> Column:
    return Column(
        column.name,
        _data_type(column),
        column.ivoa_unit or column.fits_tunit or None,
        column.ivoa_ucd or None,
        column.votable_utype,
        column.description,
        principal=column.tap_principal == 1,
        indexed=indexed,
        std=column.tap_std == 1,
        column_index=column.tap_column_index,
    )


def _data_type(column: datamodel.Column) -> DataType:
    felis = str(column.datatype)
    datatype: Any = column.votable_datatype or _VOTABLE_NAMES[felis]
    arraysize = None if column.votable_arraysize is None else str(column.votable_arraysize)
    xtype = column.votable_xtype
    if felis == "timestamp":
        return DataType("char", arraysize or "*", xtype or "timestamp")
    if arraysize is None and (datatype in ("char", "unicodeChar") or felis == "binary"):
        arraysize = _text_size(felis, column.length)
    return DataType(datatype, arraysize, xtype)


def _text_size(felis: str, length: int | None) -> str | None:
    if length is None:
        return "*"
    if length == 1 and felis in ("char", "unicode"):
        return None  # one character is a scalar (VOTable 1.5 section 2.2)
    return str(length) if felis == "char" else f"{length}*"


def write_felis(schema: Schema) -> str:
    """The Felis YAML of *schema*, which ``read_felis`` turns back into the same."""
    document = _plain_schema(schema)
    datamodel.Schema.model_validate(_copied(document), context=dict(_CONTEXT))
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=110))


def _copied(value: Any) -> Any:
    """A deep copy: the library writes defaults into what it validates."""
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value


def _plain_schema(schema: Schema) -> dict[str, Any]:
    return _without_none(
        {
            "name": schema.name,
            "@id": f"#{schema.name}",
            "description": schema.description,
            "votable:utype": schema.utype,
            "tables": [_plain_table(_with_known_targets(table, schema)) for table in schema],
        }
    )


def _with_known_targets(table: Table, schema: Schema) -> Table:
    """*table* without keys to tables that the schema does not have (yet): Felis refuses those."""
    names = {other.name for other in schema}
    return replace(table, foreign_keys=tuple(k for k in table.foreign_keys if k.target_table in names))


def _plain_table(table: Table) -> dict[str, Any]:
    name = table.name
    keys = [f"#{name}.{column}" for column in table.primary_key]
    indexed = [column.name for column in table.columns if column.indexed]
    return _without_none(
        {
            "name": name,
            "@id": f"#{name}",
            "description": table.description,
            "votable:utype": table.utype,
            "tap:table_index": table.table_index,
            "primaryKey": keys[0] if len(keys) == 1 else keys or None,
            "columns": [_plain_column(name, column) for column in table.columns],
            "constraints": [_plain_key(name, key) for key in table.foreign_keys] or None,
            "indexes": [
                {"name": f"idx_{name}_{column}", "@id": f"#idx_{name}_{column}", "columns": [f"#{name}.{column}"]}
                for column in indexed
            ]
            or None,
        }
    )


def _plain_key(table: str, key: ForeignKey) -> dict[str, Any]:
    return _without_none(
        {
            "name": key.key_id,
            "@id": f"#{key.key_id}",
            "@type": "ForeignKey",
            "description": key.description,
            "votable:utype": key.utype,
            "columns": [f"#{table}.{column}" for column in key.from_columns],
            "referencedColumns": [f"#{key.target_table}.{column}" for column in key.target_columns],
        }
    )


def _plain_column(table: str, column: Column) -> dict[str, Any]:
    return _without_none(
        {
            "name": column.name,
            "@id": f"#{table}.{column.name}",
            "description": column.description,
            **_plain_type(column.type),
            "ivoa:unit": column.unit,
            "ivoa:ucd": column.ucd,
            "votable:utype": column.utype,
            "tap:principal": 1 if column.principal else None,
            "tap:std": 1 if column.std else None,
            "tap:column_index": column.column_index,
        }
    )


def _plain_type(kind: DataType) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if kind.is_timestamp:
        plain["datatype"] = "timestamp"
    elif kind.is_string or kind.datatype in ("char", "unicodeChar"):
        plain |= _plain_string(kind)
    else:
        plain["datatype"] = _FELIS_NAMES[kind.datatype]
        if kind.datatype.endswith("Complex"):
            plain["votable:datatype"] = kind.datatype
    return plain | {"votable:arraysize": kind.arraysize, "votable:xtype": kind.xtype}


def _plain_string(kind: DataType) -> dict[str, Any]:
    size = (kind.arraysize or "1").removesuffix("*")
    if kind.datatype == "unicodeChar":
        return {"datatype": "unicode", "length": int(size) if size.isdecimal() else 65_535}
    if not size.isdecimal():
        return {"datatype": "text"}
    fixed = not (kind.arraysize or "").endswith("*")
    return {"datatype": "char" if fixed else "string", "length": int(size)}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def fit_for_felis(table: Table) -> tuple[Table, list[Gap]]:
    """*table* without the units and UCDs that Felis refuses, each told as a gap."""
    fitted = [_fit_column(column) for column in table.columns]
    return replace(table, columns=tuple(c for c, _ in fitted)), [gap for _, lost in fitted for gap in lost]


def missing_words(table: Table) -> list[Gap]:
    """What a person would want to know of *table* and its metadata don't tell."""
    gaps = [] if table.description else [Gap(None, "the table has no description")]
    gaps += [Gap(column.name, "no description") for column in table.columns if not column.description]
    return gaps + [Gap(column.name, "no UCD") for column in table.columns if not column.ucd]


def _fit_column(column: Column) -> tuple[Column, list[Gap]]:
    lost: list[Gap] = []
    unit = _known_unit(column.unit) if column.unit else None
    if column.unit and unit is None:
        lost.append(Gap(column.name, f"unit {column.unit!r} is not a known unit and was left out"))
    ucd = _known_ucd(column.ucd) if column.ucd else None
    if column.ucd and ucd is None:
        lost.append(Gap(column.name, f"UCD {column.ucd!r} is not in the IVOA vocabulary and was left out"))
    return replace(column, unit=unit, ucd=ucd), lost


#: UCD1 words of the older catalogues that have one obvious successor (UCD list of changes, IVOA 2006).
_OLD_UCDS = {
    "POS_EQ_RA_MAIN": "pos.eq.ra;meta.main",
    "POS_EQ_DEC_MAIN": "pos.eq.dec;meta.main",
    "POS_EQ_RA": "pos.eq.ra",
    "POS_EQ_DEC": "pos.eq.dec",
    "POS_PARLX_TRIG": "pos.parallax.trig",
    "ID_MAIN": "meta.id;meta.main",
    "ID_IDENTIFIER": "meta.id",
    "REMARKS": "meta.note",
}


def _known_unit(unit: str) -> str | None:
    for text in (unit, unit.strip().lower(), unit.replace("**", "^")):
        if not text or text in ("none", "null", "-", "---", "unitless"):
            return None
        try:
            units.Unit(text)
        except (ValueError, TypeError):
            continue
        return text
    return None


def _known_ucd(ucd: str) -> str | None:
    text = _OLD_UCDS.get(ucd.strip().upper(), ucd.strip())
    for candidate in (text, text.lower()):
        try:
            datamodel.validate_ivoa_ucd(candidate)
        except ValueError:
            continue
        return candidate
    return None


def merge_metadata(found: Table, given: Table) -> tuple[Table, list[str], list[str]]:
    """*given*'s words on *found*'s columns; then the columns of *given* that the data lack, and the other way round.

    Names match regardless of case; the types and the order are the data's, unless *given* numbers its columns.
    """
    wanted = {column.name.lower(): column for column in given.columns}
    there = {column.name.lower() for column in found.columns}
    columns = tuple(_described(column, wanted.get(column.name.lower())) for column in found.columns)
    missing = [column.name for column in given.columns if column.name.lower() not in there]
    extra = [column.name for column in found.columns if column.name.lower() not in wanted]
    names = {column.name.lower(): column.name for column in columns}
    primary = tuple(names.get(name.lower(), name) for name in given.primary_key)
    merged = replace(
        found,
        schema=given.schema,
        name=given.name,
        columns=columns,
        description=given.description or found.description,
        utype=given.utype or found.utype,
        table_index=given.table_index,
        foreign_keys=given.foreign_keys,
        primary_key=primary or found.primary_key,
        id_column=found.id_column or (primary[0] if len(primary) == 1 else None),
    )
    return merged, missing, extra


def _described(column: Column, given: Column | None) -> Column:
    if given is None:
        return column
    return replace(
        column,
        type=_described_type(column.type, given.type),
        unit=given.unit or column.unit,
        ucd=given.ucd or column.ucd,
        utype=given.utype or column.utype,
        description=given.description or column.description,
        principal=given.principal,
        indexed=given.indexed,
        std=given.std,
        column_index=given.column_index,
    )


def _described_type(found: DataType, given: DataType) -> DataType:
    """The data's type, with the xtype and the text flavour that the document tells and a file can't."""
    if found.is_string and given.is_string:
        return given
    if found.datatype == given.datatype and found.arraysize is not None and given.xtype and found.xtype is None:
        return replace(found, xtype=given.xtype)
    return found


def iter_type_clashes(found: Table, given: Table) -> Iterator[str]:
    """Columns whose documented kind of value can't be what the data hold: text against numbers and the like."""
    wanted = {column.name.lower(): column.type for column in given.columns}
    for column in found.columns:
        other = wanted.get(column.name.lower())
        if other and _kind(column.type) != _kind(other):
            yield f"{column.name} (data: {_kind(column.type)}, schema: {_kind(other)})"


def _kind(kind: DataType) -> str:
    if kind.is_timestamp:
        return "timestamp"
    if kind.datatype in ("char", "unicodeChar"):
        return "text"
    if kind.datatype == "boolean":
        return "boolean"
    return "array" if kind.arraysize is not None else "number"
