"""A YAML file as plain values, with the place of every key and item. Says what is wrong with it, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from idac.core.errors import BadConfiguration, Position

type Key = str | int
type KeyPath = tuple[Key, ...]

#: A configuration is a few kilobytes; more is a mistake in the path.
_MAX_BYTES = 1 << 20
#: Aliases may repeat a part; a page of them that repeat each other would fill the memory.
_MAX_NODES = 100_000
_MAX_DEPTH = 20
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class YamlFile:
    """What a file holds: maps, lists and scalars, the place of each, and what is wrong with it."""

    values: dict[str, Any]
    origins: Mapping[KeyPath, Position]
    faults: tuple[BadConfiguration, ...]


def read_yaml(file: Path, shown: str) -> YamlFile:
    """The contents of *file*, which messages call *shown*.

    Raises BadConfiguration where it can't be read or is not YAML at all; duplicate and unsuitable keys are collected.
    """
    text = _text(file, shown)
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadConfiguration(
            f"This is not YAML: {error.problem or error.context}.",
            next_step="Check indentation, colons and quotes.",
            position=Position(mark.line + 1, mark.column + 1, shown) if mark else None,
        ) from None
    except (YAMLError, RecursionError):
        raise BadConfiguration("The configuration file is not YAML text.", value=shown) from None
    if root is None or (isinstance(root, ScalarNode) and root.tag == f"{_TAG}null"):
        return YamlFile({}, {}, ())
    if not isinstance(root, MappingNode):
        raise BadConfiguration(
            "A configuration file is a map of sections.",
            value="a list" if isinstance(root, SequenceNode) else root.value,
            allowed="lines such as 'centre:' with indented keys below",
            position=_place(root, shown),
        )
    walk = _Walk(shown, yaml.constructor)
    values = walk.value(root, ())
    return YamlFile(values, walk.origins, tuple(walk.faults))


def _text(file: Path, shown: str) -> str:
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
            "The configuration file is too large to be one.",
            value=f"{shown}, {len(data)} bytes",
            allowed=f"{_MAX_BYTES} bytes",
            next_step="Name the right file with --config.",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        raise BadConfiguration(
            "The configuration file is not UTF-8 text.",
            value=f"byte 0x{data[error.start]:02x}",
            next_step="Save it as UTF-8.",
            position=Position(line, column, shown),
        ) from None


def _place(node: Node, shown: str) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1, shown)


@dataclass
class _Walk:
    """Turns nodes into values, noting places and faults on the way."""

    shown: str
    constructor: Any
    origins: dict[KeyPath, Position] = field(default_factory=dict)
    faults: list[BadConfiguration] = field(default_factory=list)
    nodes: int = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise BadConfiguration(
                "The configuration file is too deep, or its aliases repeat too much.",
                allowed=f"{_MAX_NODES} values, nested {_MAX_DEPTH} deep",
                next_step="Write the values out.",
                position=_place(node, self.shown),
            )
        if isinstance(node, MappingNode):
            return self._map(node, path)
        if isinstance(node, SequenceNode):
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: Node, path: KeyPath) -> Any:
        self.origins[path] = _place(node, self.shown)
        return self.value(node, path)

    def _map(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, values)
            if key is not None:
                self.origins[*path, key] = _place(key_node, self.shown)
                values[key] = self.value(value_node, (*path, key))
        return values

    def _key(self, node: Node, before: Mapping[str, Any]) -> str | None:
        """The key's text; None, with a fault noted, where it can't be one."""
        if node.tag == f"{_TAG}merge":
            self._fault(node, "Merge keys are not understood.", "<<", None, "Write the keys out, or use an overlay.")
        elif not isinstance(node, ScalarNode):
            self._fault(node, "A key is a map or a list.", None, "text", "Write a name before the colon.")
        elif node.value in before:
            self._fault(node, "This key is there twice.", node.value, None, "Keep one of them.")
        else:
            # Keys are names, whatever else they look like: a schema may be called 2026 or null.
            return str(node.value)
        return None

    def _scalar(self, node: Node) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "null":
            return None
        if kind in ("bool", "int", "float"):
            try:
                return getattr(self.constructor, f"construct_yaml_{kind}")(node)
            except (ConstructorError, ValueError, KeyError):
                self._fault(node, "This is not a value of its kind.", node.value, None, "Correct it, or quote it.")
                return None
        # A date is text too: no key takes a moment in time, and names may look like one.
        if kind not in ("str", "timestamp"):
            self._fault(
                node, "Tags are not understood.", f"!{kind.removeprefix('!')}", None, "Write the value without it."
            )
        return str(node.value)

    def _fault(self, node: Node, what: str, value: object, allowed: str | None, next_step: str) -> None:
        place = _place(node, self.shown)
        self.faults.append(BadConfiguration(what, value=value, allowed=allowed, next_step=next_step, position=place))
