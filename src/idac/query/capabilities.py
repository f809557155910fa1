"""What this TAP service can do, in TAPRegExt 1.0's words: made from the registries, so that it cannot say otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from idac.jobs.settings import JobsSettings
from idac.query.adql.functions import FUNCTIONS
from idac.query.settings import QuerySettings
from idac.tables.formats import FORMATS, Format
from idac.web.settings import ServerSettings
from idac.web.vosi import Capability, element

_FEATURES = "ivo://ivoa.net/std/TAPRegExt#features-"
#: IVOIDs have no case (IVOA Identifiers 2.0), but programs compare them as text. TAPRegExt's spelling is the one that
#: STILTS, TOPCAT and pyvo know; COALESCE's group came with ADQL 2.1 (section 4.6), which spells it this way, and STILTS
#: 3.4 calls the other spelling an error.
_FEATURES_NEW = "ivo://ivoa.net/std/tapregext#features-"
#: ADQL 2.1's optional groups (section 4) whose members are syntax, not functions of the registry.
_SYNTAX: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "adqlgeo",
        (
            "AREA",
            "BOX",
            "CENTROID",
            "CIRCLE",
            "CONTAINS",
            "COORD1",
            "COORD2",
            "COORDSYS",
            "DISTANCE",
            "INTERSECTS",
            "POINT",
            "POLYGON",
            "REGION",
        ),
    ),
    ("adql-string", ("LOWER", "UPPER", "ILIKE")),
    ("adql-conditional", ("COALESCE",)),
    ("adql-common-table", ("WITH",)),
    ("adql-sets", ("UNION", "EXCEPT", "INTERSECT")),
    ("adql-type", ("CAST",)),
    ("adql-unit", ("IN_UNIT",)),
    ("adql-offset", ("OFFSET",)),
)
#: SQL's own aggregates are in ADQL's core and need no declaration.
_CORE_AGGREGATES = frozenset({"AVG", "COUNT", "MAX", "MIN", "SUM"})
_OUTPUT_IDS = {
    "votable": "output-votable-binary",
    "votable/b2": "output-votable-binary2",
    "votable/td": "output-votable-td",
}


def tap_capabilities(
    base_url: str, query: QuerySettings, jobs: JobsSettings, server: ServerSettings
) -> list[Capability]:
    """The capabilities of TAP at *base_url*: TAP itself, the VOSI pages and the examples."""
    return [
        Capability(
            "ivo://ivoa.net/std/TAP",
            base_url,
            use="base",
            version="1.1",
            xsi_type="tr:TableAccess",
            details=tuple(_details(query, jobs, server)),
        ),
        Capability("ivo://ivoa.net/std/VOSI#capabilities", f"{base_url}/capabilities"),
        Capability("ivo://ivoa.net/std/VOSI#availability", f"{base_url}/availability"),
        Capability("ivo://ivoa.net/std/VOSI#tables-1.1", f"{base_url}/tables", version="1.1"),
        Capability("ivo://ivoa.net/std/DALI#examples", f"{base_url}/examples"),
    ]


def _details(query: QuerySettings, jobs: JobsSettings, server: ServerSettings) -> Iterable[ET.Element]:
    yield _language()
    for output in FORMATS.values():
        yield _output_format(output)
    for method in ("inline", "http", "https") if query.uploads.max_tables else ():
        yield element("uploadMethod", ivo_id=f"ivo://ivoa.net/std/TAPRegExt#upload-{method}")
    yield _limit("retentionPeriod", jobs.first_retention_s, jobs.max_retention_s)
    yield _limit("executionDuration", jobs.first_execution_duration_s, jobs.max_execution_duration_s)
    yield _limit("outputLimit", min(query.default_max_rows, query.max_rows), query.max_rows, unit="row")
    yield _limit("uploadLimit", server.max_upload_bytes, server.max_upload_bytes, unit="byte")


def _language() -> ET.Element:
    language = element("language")
    language.append(element("name", "ADQL"))
    language.append(element("version", "2.1", ivo_id="ivo://ivoa.net/std/ADQL#v2.1"))
    language.append(element("version", "2.0", ivo_id="ivo://ivoa.net/std/ADQL#v2.0"))
    language.append(element("description", "ADQL 2.1 with all its optional parts, and the functions listed here."))
    for group, forms in _SYNTAX:
        prefix = _FEATURES_NEW if group == "adql-conditional" else _FEATURES
        language.append(_features(f"{prefix}{group}", ((form, None) for form in forms)))
    functions = [
        (function.signature, function.description)
        for function in sorted(FUNCTIONS.values(), key=lambda f: f.name)
        if function.group == "udf" or (function.group == "aggregate" and function.name not in _CORE_AGGREGATES)
    ]
    language.append(_features(f"{_FEATURES}udf", functions))
    return language


def _features(kind: str, features: Iterable[tuple[str, str | None]]) -> ET.Element:
    node = element("languageFeatures", type=kind)
    for form, description in features:
        feature = element("feature")
        feature.append(element("form", form))
        if description:
            feature.append(element("description", description))
        node.append(feature)
    return node


def _output_format(output: Format) -> ET.Element:
    output_id = _OUTPUT_IDS.get(output.name)
    node = element("outputFormat", **({"ivo_id": f"ivo://ivoa.net/std/TAPRegExt#{output_id}"} if output_id else {}))
    node.append(element("mime", output.mime))
    for alias in dict.fromkeys((output.name, *output.aliases)):
        if alias != output.mime:
            node.append(element("alias", alias))
    return node


def _limit(tag: str, default: int, hard: int, unit: str | None = None) -> ET.Element:
    node = element(tag)
    attributes = {"unit": unit} if unit else {}
    node.append(element("default", str(min(default, hard)), **attributes))
    node.append(element("hard", str(hard), **attributes))
    return node
