"""Felis in and out: nothing is lost on the way round, and every fault is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from felis.datamodel import Schema as FelisSchema
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.catalogs.felis import fit_for_felis, missing_words, read_felis, write_felis
from idac.catalogs.tap_schema import tap_schema_entries
from idac.core.errors import BadData, NotFound
from idac.tables.model import (
    BOOLEAN,
    CIRCLE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    POINT,
    POLYGON,
    REGION,
    SHORT,
    STRING,
    TIMESTAMP,
    UNICODE,
    Column,
    DataType,
    ForeignKey,
    Schema,
    Table,
)

BASE = """\
name: base
"@id": "#base"
tables:
- name: Object
  "@id": "#Object"
  columns:
  - {name: objectId, "@id": "#Object.objectId", datatype: long, ivoa:ucd: meta.id;meta.main}
  - {name: coord_ra, "@id": "#Object.coord_ra", datatype: double, ivoa:unit: deg, ivoa:ucd: pos.eq.ra;meta.main}
"""
SURVEY = """\
name: survey
description: A survey of two tables
resources:
  base:
    uri: base.yaml
tables:
- name: Object
  description: Things on the sky
  primaryKey: "#Object.objectId"
  tap:table_index: 3
  columnRefs:
    base:
      Object:
        objectId:
        ra:
          ref_name: coord_ra
          overrides:
            description: Right ascension, ICRS
            tap:principal: 1
            tap:column_index: 20
- name: Source
  columns:
  - {name: sourceId, datatype: long}
  - {name: objectId, datatype: long}
  - {name: band, datatype: string, length: 8}
  - {name: when, datatype: timestamp, precision: 6}
  constraints:
  - name: fk_source_object
    "@type": ForeignKey
    description: The object of this source
    columns: ["#Source.objectId"]
    referencedColumns: ["#Object.objectId"]
  indexes:
  - {name: idx_source_object, columns: ["#Source.objectId"]}
"""


def test_resources_column_refs_and_foreign_keys_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "survey.yaml").write_text(SURVEY)
    schema = read_felis(tmp_path / "survey.yaml")
    objects, sources = schema.tables
    assert [c.name for c in objects.columns] == ["objectId", "ra"]
    assert objects.columns[1] == Column(
        "ra",
        DOUBLE,
        "deg",
        "pos.eq.ra;meta.main",
        description="Right ascension, ICRS",
        principal=True,
        column_index=20,
    )
    assert (objects.primary_key, objects.id_column, objects.table_index) == (("objectId",), "objectId", 3)
    assert sources.foreign_keys == (
        ForeignKey("fk_source_object", ("objectId",), "survey", "Object", ("objectId",), "The object of this source"),
    )
    assert [c.indexed for c in sources.columns] == [False, True, False, False]
    assert sources.columns[2].type == DataType("char", "8*")
    assert sources.columns[3].type == TIMESTAMP


def test_what_is_written_stands_alone_and_reads_back_the_same(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "survey.yaml").write_text(SURVEY)
    schema = read_felis(tmp_path / "survey.yaml")
    text = write_felis(schema)
    assert "resources" not in text
    assert "columnRefs" not in text
    assert read_felis(text) == schema


OBSERVATIONS = """\
name: observations
"@id": "#observations"
version: {current: "1.2.0", compatible: ["1.1.0"]}
tables:
- name: visit
  "@id": "#visit"
  mysql:engine: MyISAM
  mysql:charset: latin1
  primaryKey: ["#visit.night", "#visit.number"]
  columns:
  - {name: night, "@id": "#visit.night", datatype: int, nullable: false, mysql:datatype: INTEGER}
  - {name: number, "@id": "#visit.number", datatype: int, nullable: false, autoincrement: false, value: 0}
  - {name: made, "@id": "#visit.made", datatype: timestamp, precision: 6, value: CURRENT_TIMESTAMP}
  - {name: seeing, "@id": "#visit.seeing", datatype: double, fits:tunit: arcsec}
  - {name: mask, "@id": "#visit.mask", datatype: binary, length: 16, ivoa:unit: ""}
  - {name: region, "@id": "#visit.region", datatype: char, length: 512, votable:arraysize: "512*",
     votable:xtype: adql:REGION, votable:utype: "Char.SpatialAxis", tap:std: 1, tap:principal: 1}
  constraints:
  - {name: un_made, "@id": "#un_made", "@type": Unique, columns: ["#visit.made"]}
  - {name: ck_night, "@id": "#ck_night", "@type": Check, expression: night > 0}
- name: note
  "@id": "#note"
  columns:
  - {name: night, "@id": "#note.night", datatype: int}
  - {name: number, "@id": "#note.number", datatype: int}
  - {name: text, "@id": "#note.text", datatype: text}
  indexes:
  - {name: idx_note, "@id": "#idx_note", columns: ["#note.night", "#note.number"]}
  constraints:
  - name: fk_note_visit
    "@id": "#fk_note_visit"
    "@type": ForeignKey
    columns: ["#note.night", "#note.number"]
    referencedColumns: ["#visit.night", "#visit.number"]
"""


def test_what_rubins_schemas_are_made_of_becomes_tap_schema() -> None:
    """Versions, engines of MySQL, defaults, constraints of every kind, keys of two columns, units of FITS."""
    schema = read_felis(OBSERVATIONS)
    visit, note = schema.tables
    by_name = {c.name: c for c in visit.columns}
    assert (visit.primary_key, visit.id_column) == (("night", "number"), None)
    assert (by_name["seeing"].unit, by_name["mask"].unit) == ("arcsec", None)
    assert by_name["made"].type == TIMESTAMP
    assert by_name["mask"].type == DataType("unsignedByte", "16*")
    assert by_name["region"].type == DataType("char", "512*", "adql:REGION")
    assert (by_name["region"].std, by_name["region"].principal) == (True, True)
    assert [c.indexed for c in note.columns] == [True, False, False]
    assert read_felis(write_felis(schema)) == schema
    entries = tap_schema_entries([schema], "1")
    rows = {name: entry.storage.data.to_pylist() for (_, name), entry in entries.items()}  # type: ignore[union-attr]
    assert [r["table_name"] for r in rows["tables"]] == ["observations.visit", "observations.note"]
    assert len(rows["columns"]) == 9
    assert rows["keys"] == [
        {
            "key_id": "observations.fk_note_visit",
            "from_table": "observations.note",
            "target_table": "observations.visit",
            "utype": None,
            "description": None,
        }
    ]
    assert rows["key_columns"] == [
        {"key_id": "observations.fk_note_visit", "from_column": "night", "target_column": "night"},
        {"key_id": "observations.fk_note_visit", "from_column": "number", "target_column": "number"},
    ]


TYPES = [
    *(BOOLEAN, SHORT, INT, LONG, FLOAT, DOUBLE, STRING, UNICODE, TIMESTAMP, POINT, CIRCLE, POLYGON, REGION),
    DataType("unsignedByte"),
    DataType("unsignedByte", "*"),
    DataType("float", "5"),
    DataType("double", "3x*"),
    DataType("char", "12"),
    DataType("char", "12*"),
    DataType("char"),
    DataType("floatComplex"),
    DataType("doubleComplex", "*"),
]
WORDS = st.one_of(st.none(), st.text("aåβ \"'#:-{}[]%@\n", min_size=1, max_size=20).map(str.strip).filter(bool))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TYPES), WORDS, st.booleans()), min_size=1, max_size=6), WORDS)
def test_every_type_and_any_text_survives_the_way_round(
    columns: list[tuple[DataType, str | None, bool]], words: str | None
) -> None:
    made = tuple(
        Column(f"c{i}", kind, description=text, principal=flag, indexed=flag, std=flag)
        for i, (kind, text, flag) in enumerate(columns)
    )
    schema = Schema("s", (Table("s", "t", made, words),), words)
    assert read_felis(write_felis(schema)) == schema


def test_units_and_ucds_that_felis_refuses_are_left_out_and_told() -> None:
    table = Table(
        "s",
        "t",
        (
            Column("a", DOUBLE, "furlongs per fortnight", "pos.eq.ra;meta.main", description="A"),
            Column("b", DOUBLE, "deg", "POS_EQ_DEC_MAIN", description="B"),
            Column("c", DOUBLE, "mag", "phot.nonsense"),
        ),
        "A table",
    )
    fitted, gaps = fit_for_felis(table)
    assert [(c.unit, c.ucd) for c in fitted.columns] == [
        (None, "pos.eq.ra;meta.main"),
        ("deg", "pos.eq.dec;meta.main"),
        ("mag", None),
    ]
    assert [str(g) for g in gaps] == [
        "a: unit 'furlongs per fortnight' is not a known unit and was left out",
        "c: UCD 'phot.nonsense' is not in the IVOA vocabulary and was left out",
    ]
    assert [str(g) for g in missing_words(fitted)] == ["c: no description", "c: no UCD"]
    assert read_felis(write_felis(Schema("s", (fitted,)))).tables[0].columns == fitted.columns


def failure(text: str | Path) -> str:
    with pytest.raises((BadData, NotFound)) as caught:
        read_felis(text)
    return str(caught.value.text)


def test_a_fault_in_the_yaml_is_told_with_line_and_column() -> None:
    assert failure("name: s\ntables:\n- name: [t\n") == (
        "line 4, column 1: This is not YAML: did not find expected ',' or ']'. "
        "Allowed: a Felis schema in YAML. Correct the text at this place."
    )


def test_an_unknown_datatype_is_told_with_its_place_and_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: s\ntables:\n- name: t\n  columns:\n  - name: a\n    datatype: doubl\n")
    assert failure(path) == (
        "bad.yaml, line 6, column 5: The column a of t has a datatype that Felis does not know. Given: doubl. "
        "Allowed: boolean, byte, short, int, long, float, double, char, string, text, unicode, binary, timestamp. "
        "Did you mean double?"
    )


def test_a_fault_in_the_schema_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: s\ntables:\n- name: t\n  columns:\n  - name: a\n    datatype: double\n    unit: deg\n")
    assert failure(path) == (
        "bad.yaml, line 7, column 5: The Felis schema is not valid: tables.0.columns.0.unit: "
        "Extra inputs are not permitted. Allowed: what https://felis.lsst.io describes. "
        "Correct the schema and run the command again."
    )


def test_a_missing_name_is_said() -> None:
    assert failure("name: s\ntables:\n- columns: []\n") == (
        "The text is not a valid Felis schema: the key 'name' is missing. "
        "Allowed: what https://felis.lsst.io describes. Correct the schema and run the command again."
    )


def test_an_unknown_target_of_a_foreign_key_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "survey.yaml").write_text(SURVEY.replace('["#Object.objectId"]', '["#Object.objectIdd"]'))
    text = failure(tmp_path / "survey.yaml")
    assert "#Object.objectIdd" in text


def test_text_that_is_no_schema_is_refused() -> None:
    assert failure("just words\n") == (
        "The Felis text holds no schema. Given: just words. Allowed: a mapping with name and tables. "
        "See https://felis.lsst.io for the form."
    )


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert failure(path) == (
        f"The Felis file can't be read. Given: {path} (No such file or directory). Allowed: a readable YAML file. "
        "Check the name and its permissions."
    )


def test_what_is_written_is_valid_to_the_felis_library_itself() -> None:
    columns = tuple(Column(f"c{i}", kind) for i, kind in enumerate(TYPES))
    text = write_felis(Schema("s", (Table("s", "t", columns, primary_key=("c1", "c2")),)))
    import io

    assert FelisSchema.from_stream(io.StringIO(text)).tables[0].primary_key == ["#t.c1", "#t.c2"]
