"""Fill the reference pages from the code they describe, so that they can't drift from it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, get_origin

from pydantic.fields import FieldInfo

from idac.core import errors
from idac.core.errors import UserError
from idac.core.loading import documentation, models_in
from idac.core.settings_words import words_for
from idac.query.adql.functions import FUNCTIONS, SPECIAL, Group
from idac.query.adql.geometry_rules import GEOMETRY
from idac.tables.formats import FORMATS
from idac.wiring.settings import DacSettings


def _cell(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def _table(header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


#: Codes that no UserError stands for.
_OTHER_CODES = {
    0: ("", "The command did what it was asked to do, or what reads its output has seen enough."),
    70: ("`fault`", "Something went wrong inside idac. The message names a file to send with a report."),
}


def exit_codes() -> str:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, UserError)]
    rows = {code: ([kind] if kind else [], [when]) for code, (kind, when) in _OTHER_CODES.items()}
    for kind in kinds:
        names, when = rows.setdefault(kind.exit_code, ([], []))
        names.append(f"`{kind.code}`")
        when.append(_usage_words(kind))
    lines = ((code, ", ".join(names), " ".join(when)) for code, (names, when) in sorted(rows.items()))
    return _table(("exit code", "kinds of error", "when"), lines)


def _usage_words(kind: type[UserError]) -> str:
    if kind is UserError:
        return "The command line itself is wrong: an option or a command that there is not, or a value left out."
    if kind is errors.Cancelled:
        return "The command was stopped, by Ctrl-C for instance, or a question was not answered with yes."
    return _first_paragraph(kind)


def _first_paragraph(thing: object) -> str:
    return (getattr(thing, "__doc__", None) or "").split("\n\n")[0]


def configuration_keys() -> str:
    parts = []
    for name, field in DacSettings.model_fields.items():
        sections = list(models_in(field.annotation))
        rows = list(_keys(name, field, (name,)))
        intro = _code(_first_paragraph(sections[0])) if sections else ""
        parts.append(f"## {name}\n\n{intro}\n\n{_table(('key', 'type', 'default', 'what it means'), iter(rows))}")
    return "\n\n".join(parts)


def _keys(shown: str, field: FieldInfo, path: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    """The rows of a key, or of all keys of its section; a map of sections has NAME for its own keys."""
    sections = list(models_in(field.annotation))
    is_section = bool(sections) and field.annotation is sections[0]
    if not is_section:
        yield f"`{shown}`", _type(path), _default(field), _code(documentation(field))
    if sections and (is_section or get_origin(field.annotation) is dict):
        inner = shown if is_section else f"{shown}.NAME"
        steps = path if is_section else (*path, "NAME")
        for name, part in sections[0].model_fields.items():
            yield from _keys(f"{inner}.{name}", part, (*steps, name))


def _default(field: FieldInfo) -> str:
    if field.default_factory not in (None, dict, list):
        return "by the machine"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    return f"`{json.dumps(value, default=str)}`"


def _code(text: str) -> str:
    """A docstring as Markdown: one backtick for two, and nothing outside of them that would be taken for HTML."""
    parts = text.replace("``", "`").split("`")
    return "`".join(part if index % 2 else html.escape(part, quote=False) for index, part in enumerate(parts))


def _type(path: tuple[str, ...]) -> str:
    return re.sub(r"\^\S+\$", lambda match: f"`{match[0]}`", words_for(DacSettings, path))


#: What GEOMETRY's forms mean; a function that is not here fails the build.
_GEOMETRY_WORDS = {
    "POINT": "A position, in degrees.",
    "CIRCLE": "A circle on the sphere; the radius is in degrees.",
    "BOX": "A box around a position, as a polygon; its sides are great circles.",
    "POLYGON": "A polygon, of at least three corners; its sides are great circles.",
    "REGION": "A region written as text.",
    "CONTAINS": "1 where the first lies in the second, else 0.",
    "INTERSECTS": "1 where the two have a point in common, else 0.",
    "DISTANCE": "Degrees between two positions, along the great circle.",
    "AREA": "Square degrees.",
    "CENTROID": "The point in the middle.",
    "COORD1": "Right ascension, or the first coordinate of a point in another frame, in degrees.",
    "COORD2": "Declination, or the second coordinate, in degrees.",
    "COORDSYS": "The name of the coordinate system.",
}


def geometry_functions() -> str:
    return _table(("form", "what it is"), ((_forms(form), _GEOMETRY_WORDS[name]) for name, form in GEOMETRY.items()))


def _forms(text: str) -> str:
    return "<br>".join(f"`{form.removesuffix(' and the like')}`" for form in text.split(" or "))


def plain_functions() -> str:
    special = ((f"`{name.lower()}(…)`", words, "") for name, (_, words) in SPECIAL.items())
    return _function_table(chain(_functions("core", "string"), special))


def aggregate_functions() -> str:
    return _function_table(_functions("aggregate"))


def user_functions() -> str:
    return _function_table(_functions("udf"))


def _functions(*groups: Group) -> Iterator[tuple[str, str, str]]:
    for function in FUNCTIONS.values():
        if function.group in groups:
            signatures = "<br>".join(f"`{signature}`" for signature in function.signatures)
            yield signatures, function.description, f"`{function.example}`" if function.example else ""


def _function_table(rows: Iterator[tuple[str, str, str]]) -> str:
    found = list(rows)
    columns = 3 if any(example for _, _, example in found) else 2
    return _table(("signature", "what it gives", "for example")[:columns], (row[:columns] for row in found))


def result_formats() -> str:
    rows = (
        (
            f"`{f.name}`",
            f.description,
            f"`{f.mime}`",
            ", ".join(f"`{alias}`" for alias in f.aliases),
            f.loses,
        )
        for f in FORMATS.values()
    )
    return _table(("name", "what it is", "media type", "other names", "what does not survive"), rows)


def _figures() -> dict[str, Any]:
    path = Path(__file__).parent.parent / "bench" / "results" / "formats.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _seconds(found: dict[str, float], name: str) -> str:
    return f"{found[name]:.2g}" if name in found else "–"


def format_reading() -> str:
    reading = _figures()["reading"]
    rows = (
        (
            FORMATS[name].description,
            f"{size / 1e6:.0f}",
            *(_seconds(reading[client], name) for client in ("astropy_s", "pyvo_s", "stilts_s")),
        )
        for name, size in reading["bytes"].items()
    )
    return _table(("format", "MB", "astropy, s", "pyvo, s", "STILTS, s"), rows)


def format_writing() -> str:
    writing = _figures()["writing"]
    rows = (
        (FORMATS[name].description, f"{writing['bytes'][name] / 1e6:.0f}", f"{rate / 1e6:.1f}")
        for name, rate in writing["rows_per_cpu_s"].items()
    )
    return _table(("format", "MB", "million rows in a second of one processor"), rows)


def format_versions() -> str:
    found = _figures()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{found['cores']} cores; {versions}"


#: What a page may ask for with a line ``<!-- generated: name -->``.
_GENERATED: dict[str, Callable[[], str]] = {
    "exit_codes": exit_codes,
    "configuration_keys": configuration_keys,
    "geometry_functions": geometry_functions,
    "plain_functions": plain_functions,
    "aggregate_functions": aggregate_functions,
    "user_functions": user_functions,
    "result_formats": result_formats,
    "format_reading": format_reading,
    "format_writing": format_writing,
    "format_versions": format_versions,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' hook: the page with its generated parts in their places; KeyError for one that there is not."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda match: _GENERATED[match[1]](), markdown)
