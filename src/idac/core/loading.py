"""dac.yaml and its overlays read, merged and checked, with the place of every value known.

Maps merge key by key; anything else in an overlay replaces what the base has. An overlay says only what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rapidfuzz import process
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from idac.core.errors import BadConfiguration, Position

type Key = str | int
type KeyPath = tuple[Key, ...]

#: A configuration is a few kilobytes; more is a mistake in the path.
_MAX_BYTES = 1 << 20


class BadConfigurations(BadConfiguration):
    """Every fault of a configuration at once, so that an operator mends them in one go."""

    code = "bad-configuration-file"

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

    Raises BadConfiguration (BadConfigurations where a file has several faults) with file, line and column.
    """
    files = [path, *([_overlay(path, environment)] if environment else [])]
    origins: dict[KeyPath, Position] = {}
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, _plain(_read(file), (), file, origins), ())
    try:
        settings = model.model_validate(merged)
    except ValidationError as error:
        faults = [_explain(model, item, origins, path) for item in error.errors(include_url=False)]
        raise BadConfigurations(faults) from None
    return Loaded(settings, merged, origins, path.parent.resolve())


def _overlay(path: Path, environment: str) -> Path:
    folder = path.parent / "environments"
    file = folder / f"{environment}.yaml"
    if "/" in environment or not file.is_file():
        known = sorted(f.stem for f in folder.glob("*.yaml")) if folder.is_dir() else []
        raise BadConfiguration(
            "There is no environment of this name.",
            value=environment,
            allowed=", ".join(known) or "none: there is no folder environments/ beside dac.yaml",
            next_step=f"Make environments/{environment}.yaml, saying only what differs, or name another.",
        )
    return file


def _read(file: Path) -> CommentedMap:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise BadConfiguration(
            "There is no configuration file here.",
            value=str(file),
            next_step="Run idac init to write one, or name another with --config.",
        ) from None
    except OSError as error:
        raise BadConfiguration(
            "The configuration file can't be read.",
            value=f"{file}: {error.strerror}",
            next_step="Check its permissions.",
        ) from None
    if len(data) > _MAX_BYTES:
        raise BadConfiguration(
            "The configuration file is too large to be one.", value=f"{len(data)} bytes", allowed=f"{_MAX_BYTES} bytes"
        )
    try:
        content = YAML(typ="rt").load(data)
    except DuplicateKeyError as error:
        raise _marked("This key is there twice.", error, file, "Keep one of them.") from None
    except MarkedYAMLError as error:
        raise _marked(
            f"This is not YAML: {error.problem}.", error, file, "Check indentation, colons and quotes."
        ) from None
    except (YAMLError, ValueError):
        raise BadConfiguration("The configuration file is not YAML text.", value=str(file)) from None
    if content is None:
        return CommentedMap()
    if not isinstance(content, CommentedMap):
        raise BadConfiguration(
            "A configuration file is a map of sections.",
            value=type(content).__name__,
            allowed="lines such as 'centre:' with indented keys below",
            position=Position(1, 1, file.name),
        )
    return content


def _marked(what: str, error: MarkedYAMLError, file: Path, next_step: str) -> BadConfiguration:
    mark = error.problem_mark
    position = Position(mark.line + 1, mark.column + 1, _shown(file)) if mark is not None else None
    return BadConfiguration(what, next_step=next_step, position=position)


def _shown(file: Path) -> str:
    """A file as messages name it: overlays with their folder, whatever the working folder is."""
    return f"{file.parent.name}/{file.name}" if file.parent.name == "environments" else file.name


def _plain(node: Any, path: KeyPath, file: Path, origins: dict[KeyPath, Position]) -> Any:
    """*node* as plain values; the place of each is added to *origins*, over those of an earlier file."""
    if isinstance(node, CommentedMap):
        for key in node:
            line, column = node.lc.key(key)
            origins[*path, key] = Position(line + 1, column + 1, _shown(file))
        return {key: _plain(value, (*path, key), file, origins) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            line, column = node.lc.item(index)
            origins[*path, index] = Position(line + 1, column + 1, _shown(file))
        return [_plain(value, (*path, index), file, origins) for index, value in enumerate(node)]
    # ruamel's scalars are subclasses of the plain ones, made to keep their looks.
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _merge(base: Any, over: Any, path: KeyPath) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: _merge(base[key], over[key], (*path, key)) if key in base and key in over else
                over.get(key, base.get(key)) for key in {**base, **over}}  # fmt: skip
    return over


def _explain(
    model: type[BaseModel], item: Mapping[str, Any], origins: Mapping[KeyPath, Position], file: Path
) -> BadConfiguration:
    """One fault that pydantic found, said with its place and what would be right."""
    path = tuple(item["loc"])
    known = path
    while known and known not in origins:
        known = known[:-1]
    position = origins.get(known) or Position(1, 1, file.name)
    name = ".".join(str(part) for part in known) or "the file"
    if item["type"] == "extra_forbidden":
        return _unknown_key(model, path, position)
    if item["type"] == "missing":
        return BadConfiguration(f"{'.'.join(map(str, path))} is missing.", next_step="Add it.", position=position)
    value = None if isinstance(item.get("input"), dict | list) else item.get("input")
    reason = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ").split(", unable to")[0]
    return BadConfiguration(
        f"{name} can't be used.", value=value, allowed=reason[:1].lower() + reason[1:], position=position
    )


def _unknown_key(model: type[BaseModel], path: KeyPath, position: Position) -> BadConfiguration:
    section = _section(model, path[:-1])
    names = sorted(section.model_fields) if section is not None else []
    close = process.extractOne(str(path[-1]), names, score_cutoff=60)
    where = ".".join(map(str, path[:-1]))
    return BadConfiguration(
        f"There is no such key{f' in {where}' if where else ''}.",
        value=path[-1],
        allowed=", ".join(names),
        next_step=f"Did you mean {close[0]}?" if close else "Remove it.",
        position=position,
    )


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
