"""dac.yaml and its overlays read, merged and checked, with the place of every value known.

Maps merge key by key; anything else in an overlay replaces what the base has. An overlay says only what differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from idac.core.errors import BadConfiguration, Position
from idac.core.nearest import nearest
from idac.core.secrets import SecretRef, SecretSource
from idac.core.settings_words import may_be_secret, words_for
from idac.core.yaml_file import Key, KeyPath, read_yaml


class BadConfigurations(BadConfiguration):
    """Every fault of a configuration at once, so that an operator mends them in one go."""

    def __init__(self, errors: Sequence[BadConfiguration]) -> None:
        self.errors = tuple(errors)
        first = errors[0]
        super().__init__(
            first.what, value=first.value, allowed=first.allowed, next_step=first.next_step, position=first.position
        )

    @property
    def text(self) -> str:
        return "\n".join(error.text for error in self.errors)

    def __reduce__(self) -> tuple[object, ...]:
        return (BadConfigurations, (self.errors,))


@dataclass(frozen=True)
class Loaded[M: BaseModel]:
    """A checked configuration, and where each value in it came from."""

    settings: M
    values: Mapping[str, Any]  # the merged file as plain maps, lists and scalars, without defaults
    origins: Mapping[KeyPath, Position]
    folder: Path  # of dac.yaml: relative paths are taken from here


def load_settings[M: BaseModel](model: type[M], path: Path, environment: str | None = None) -> Loaded[M]:
    """The settings of *path*, with ``environments/<environment>.yaml`` beside it merged over them.

    Raises BadConfiguration (BadConfigurations where there are several faults) with file, line and column.
    """
    files = [(path, path.name)]
    if environment:
        files.append((_overlay(path, environment), f"environments/{environment}.yaml"))
    origins: dict[KeyPath, Position] = {}
    merged: dict[str, Any] = {}
    faults: list[BadConfiguration] = []
    for file, shown in files:
        read = read_yaml(file, shown)
        origins.update(read.origins)
        faults += read.faults
        merged = _merge(merged, read.values)
    merged = _without_empty_sections(model, merged)
    folder = path.parent.resolve()
    try:
        settings = _validate(model, merged, folder)
    except ValidationError as error:
        faults += _Explainer(model, merged, origins, path.name).explain(error)
        raise _all(faults) from None
    if faults:
        raise _all(faults)
    return Loaded(settings, merged, origins, folder)


def check_secrets(loaded: Loaded[Any], source: SecretSource) -> None:
    """Read every secret that the configuration names; raises for all that are missing, each with its place."""
    faults = []
    for path, reference in _secrets_in(loaded.settings, ()):
        try:
            source.read(reference)
        except BadConfiguration as error:
            position = loaded.origins.get(path)
            faults.append(
                BadConfiguration(
                    error.what, value=error.value, allowed=error.allowed, next_step=error.next_step, position=position
                )
            )
    if faults:
        raise _all(faults)


def _secrets_in(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, SecretRef]]:
    if isinstance(value, SecretRef):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets_in(item, (*path, name))


def _all(faults: Sequence[BadConfiguration]) -> BadConfiguration:
    if len(faults) == 1:
        return faults[0]
    return BadConfigurations(sorted(faults, key=_place_in_files))


def _place_in_files(fault: BadConfiguration) -> tuple[bool, str, int, int]:
    place = fault.position
    if place is None:
        return True, "", 0, 0
    return "/" in (place.file or ""), place.file or "", place.line, place.column


def _overlay(path: Path, environment: str) -> Path:
    folder = path.parent / "environments"
    file = folder / f"{environment}.yaml"
    if "/" in environment or not file.is_file():
        known = sorted(f.stem for f in folder.glob("*.yaml")) if folder.is_dir() else []
        raise BadConfiguration(
            "There is no environment of this name.",
            value=environment,
            allowed=", ".join(known) or "none, as there are no files in environments/ beside dac.yaml",
            next_step="Name one of these with --env, or write a new overlay that says only what differs.",
        )
    return file


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: _merge(base.get(key), value) for key, value in over.items()}


def _without_empty_sections(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """A section with every key commented out reads as null; it means all defaults."""
    result = {}
    for key, value in values.items():
        field = model.model_fields.get(key)
        section = field.annotation if field else None
        if isinstance(section, type) and issubclass(section, BaseModel) and (value is None or isinstance(value, dict)):
            value = _without_empty_sections(section, value or {})
        elif value is None and field is not None and get_origin(section) is dict:
            value = {}
        result[key] = value
    return result


def _validate[M: BaseModel](model: type[M], values: Any, folder: Path) -> M:
    # JSON's strictness: 8080 is not "8080" and true is not 1, and yet lists become tuples and text becomes paths.
    text = json.dumps(_whole_numbers(values))
    return model.model_validate_json(text, strict=True, context={"folder": folder})


def _whole_numbers(value: Any) -> Any:
    """1e6 is a float to YAML, and a number of rows to a person."""
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class _Explainer:
    """Says pydantic's findings with their places and what would be right, once for each value."""

    model: type[BaseModel]
    values: Mapping[str, Any]
    origins: Mapping[KeyPath, Position]
    file: str

    def explain(self, error: ValidationError) -> list[BadConfiguration]:
        found: dict[KeyPath, BadConfiguration] = {}
        for item in error.errors(include_url=False):
            path, in_union = self._real_path(item["loc"], missing=item["type"] == "missing")
            fault = self._fault(path, {**item, "type": "union" if in_union else item["type"]})
            # Of several findings about one value, one in the settings' own words says most.
            if path not in found or item["type"] == "value_error":
                found[path] = fault
        return list(found.values())

    def _real_path(self, loc: Sequence[Key], *, missing: bool) -> tuple[KeyPath, bool]:
        """The keys of *loc*, up to where it names one of a value's possible types."""
        node: Any = self.values
        for index, key in enumerate(loc):
            if isinstance(node, dict) and key in node:
                node = node[str(key)]
            elif isinstance(node, list) and isinstance(key, int) and key < len(node):
                node = node[key]
            elif missing and index == len(loc) - 1:
                break
            else:
                return tuple(loc[:index]), True
        return tuple(loc), False

    def _fault(self, path: KeyPath, item: Mapping[str, Any]) -> BadConfiguration:
        known = path
        while known and known not in self.origins:
            known = known[:-1]
        position = self.origins.get(known) or Position(1, 1, self.file)
        name = ".".join(map(str, path)) or "the file"
        words = words_for(self.model, path)
        match item["type"]:
            case "extra_forbidden":
                return _unknown_key(self.model, path, position)
            case "missing":
                return BadConfiguration(f"{name} is missing.", allowed=words, next_step="Add it.", position=position)
            case "value_error":
                words = str(item["ctx"]["error"]).removeprefix("must be ").rstrip(".")
        return BadConfiguration(
            f"{name} can't be used.", value=self._shown(path), allowed=words, next_step="Correct it.", position=position
        )

    def _shown(self, path: KeyPath) -> str | None:
        """The refused value; but not one that is written where a secret belongs, since it may be the secret."""
        if may_be_secret(self.model, path):
            return None
        node: Any = self.values
        for key in path:
            node = node[key]
        if isinstance(node, dict | list):
            return "a map" if isinstance(node, dict) else "a list"
        if isinstance(node, str):
            return node or '""'
        return json.dumps(node)


def _unknown_key(model: type[BaseModel], path: KeyPath, position: Position) -> BadConfiguration:
    section = _section(model, path[:-1])
    names = sorted(section.model_fields) if section is not None else []
    close = nearest(str(path[-1]), names)
    elsewhere = [place for place in _key_names(model) if place.rpartition(".")[2] == path[-1]]
    if close:
        next_step = f"Did you mean {close}?"
    elif elsewhere:
        next_step = f"Did you mean {' or '.join(elsewhere)}?"
    else:
        next_step = "Remove it."
    where = ".".join(map(str, path[:-1]))
    return BadConfiguration(
        f"There is no such key{f' in {where}' if where else ''}.",
        value=path[-1],
        allowed=", ".join(names),
        next_step=next_step,
        position=position,
    )


def _key_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key's dotted name."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _key_names(field.annotation, f"{prefix}{name}.")


def _section(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model that the map at *path* is checked against."""
    for key in path:
        field = model.model_fields.get(str(key))
        nested = next(models_in(field.annotation), None) if field else None
        if nested is None:
            # A map of sections (``stores``): its keys are names, and its values the section.
            continue
        model = nested
    return model


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The settings models that a field's type is made of, such as ``StoreSettings`` in ``dict[str, StoreSettings]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not None:
        for part in get_args(annotation):
            yield from models_in(part)


def documentation(field: FieldInfo) -> str:
    """A key's own words: its unit, the reason for its default and who would change it."""
    return " ".join((field.description or "").split())
