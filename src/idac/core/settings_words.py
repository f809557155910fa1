"""What a key of dac.yaml may be, in words; read from the JSON Schema, so that it can't differ from what is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

type Schema = Mapping[str, Any]

_SECRET = "SecretRef"  # noqa: S105  a name


def words_for(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """The values that the key at *path* takes, such as "a whole number from 1 to 65535"."""
    root = _schema(model)
    found = _find(root, path)
    return _words(root, found) if found is not None else "another value"


def may_be_secret(model: type[BaseModel], path: Sequence[str | int]) -> bool:
    """True where the key at *path* takes the name of a secret."""
    found = _find(_schema(model), path)
    return found is not None and any(part.get("$ref", "").endswith(f"/{_SECRET}") for part in _alternatives(found))


@cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema(mode="validation")


def _find(root: Schema, path: Sequence[str | int]) -> Schema | None:
    node: Schema = root
    for key in path:
        resolved = [_resolve(root, part) for part in _alternatives(node)]
        steps = (_step(part, key) for part in resolved)
        found = next((step for step in steps if step is not None), None)
        if found is None:
            return None
        node = found
    return node


def _step(node: Schema, key: str | int) -> Schema | None:
    found = node.get("items") if isinstance(key, int) else node.get("properties", {}).get(key)
    if found is None and isinstance(node.get("additionalProperties"), dict):
        found = node["additionalProperties"]
    if found is None and isinstance(key, str):
        # A map whose keys have a form of their own, such as names.
        found = next(iter(node.get("patternProperties", {}).values()), None)
    return found if isinstance(found, dict) else None


def _resolve(root: Schema, node: Schema) -> Schema:
    reference = node.get("$ref")
    return root["$defs"][reference.rpartition("/")[2]] if reference else node


def _alternatives(node: Schema) -> Sequence[Schema]:
    return node.get("anyOf") or node.get("oneOf") or node.get("allOf") or [node]


def _words(root: Schema, node: Schema) -> str:
    alternatives = _alternatives(node)
    if len(alternatives) > 1:
        return " or ".join(_words(root, part) for part in alternatives)
    node = alternatives[0]
    if node.get("$ref", "").endswith(f"/{_SECRET}"):
        return "{secret: NAME}"
    node = _resolve(root, node)
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    if "const" in node:
        return str(node["const"])
    match node.get("type"):
        case "integer":
            return "a whole number" + _range(node)
        case "number":
            return "a number" + _range(node)
        case "string":
            return _text(node)
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "array":
            items = node.get("items")
            return f"a list in brackets, each item {_words(root, items)}" if items else "a list in brackets"
    return "a map of keys and values"


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    parts = []
    if low is not None and high is not None:
        return f" from {low:.15g} to {high:.15g}"
    if low is not None:
        parts.append(f"of at least {low:.15g}")
    if above is not None:
        parts.append(f"above {above:.15g}")
    if high is not None:
        parts.append(f"of at most {high:.15g}")
    if below is not None:
        parts.append(f"below {below:.15g}")
    return "".join(f" {part}" for part in [" and ".join(parts)] if part)


def _text(node: Schema) -> str:
    words = "a path" if node.get("format") == "path" else "text"
    if "maxLength" in node:
        words += f" of at most {node['maxLength']} characters"
    return words + (f" like {node['pattern']}" if "pattern" in node else "")
