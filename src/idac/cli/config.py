"""``idac config``: check the configuration, show it merged, print its JSON Schema."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
from pydantic import BaseModel

from idac.cli.main import Options
from idac.cli.output import counted, print_json
from idac.core.loading import Loaded, check_secrets, documentation
from idac.core.secrets import open_secrets
from idac.core.yaml_file import KeyPath
from idac.wiring.settings import DacSettings

_PASSWORD = re.compile(r"(://[^/@:\s]*:).*@")


@click.group("config")
def command() -> None:
    """Check or show the configuration, or print its JSON Schema."""


@command.command(short_help="Say whether the configuration can be used.")
@click.option("--no-secrets", is_flag=True, help="Don't look whether the secrets that it names are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(options: Options, no_secrets: bool, as_json: bool) -> None:
    """Say whether the configuration can be used; every fault at once if not."""
    loaded = options.load()
    if not no_secrets:
        check_secrets(loaded, open_secrets(loaded.settings.secrets, loaded.folder))
    values = sum(1 for _ in _leaves(loaded.values))
    if as_json:
        file, environment = str(options.config), options.environment
        print_json({"ok": True, "file": file, "environment": environment, "values": values})
    else:
        overlay = f" with environments/{options.environment}.yaml" if options.environment else ""
        click.echo(
            f"{options.config}{overlay} is fine: {counted(values, 'value')} set, everything else at its default."
        )


@command.command(short_help="Print every value, and where it came from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: each key with its value and where it came from.")
@click.pass_obj
def show(options: Options, as_json: bool) -> None:
    """Print every value, and where it came from. Secrets are shown by name alone."""
    loaded = options.load()
    rows = list(_described(loaded))
    if as_json:
        print_json({".".join(map(str, path)): {"value": value, "from": origin} for path, value, origin in rows})
        return
    depth: tuple[object, ...] = ()
    for path, value, origin in rows:
        for level, key in enumerate(path[:-1]):
            if path[: level + 1] != depth[: level + 1]:
                click.echo(f"{'  ' * level}{key}:")
        depth = path[:-1]
        line = f"{'  ' * (len(path) - 1)}{path[-1]}: {_written(value)}"
        click.echo(f"{line:<60}  # {origin}")


@command.command()
@click.option("--json", "as_json", is_flag=True, expose_value=False, help="Print JSON, as it does anyway.")
def schema() -> None:
    """Print the JSON Schema of dac.yaml (2020-12)."""
    document = DacSettings.model_json_schema(mode="validation")
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    print_json(document, sys.stdout)


def _described(loaded: Loaded[DacSettings]) -> Iterator[tuple[KeyPath, Any, str]]:
    """Every value with its path and origin, in the order of the sections."""
    for path, value in _leaves(loaded.settings.model_dump(mode="json")):
        known = path
        while known and known not in loaded.origins:
            known = known[:-1]
        at = loaded.origins.get(known)
        given = at is not None and _reaches(loaded.values, path)
        yield path, _without_password(value), f"{at.file}:{at.line}" if given and at is not None else "default"


def _without_password(value: Any) -> Any:
    """A URL that has a password in it, though one belongs in a secret, without it."""
    return _PASSWORD.sub(r"\1…@", value) if isinstance(value, str) else value


def _reaches(values: Mapping[str, Any], path: KeyPath) -> bool:
    node: Any = values
    for key in path:
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict) and value and set(value) != {"secret"}:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif path:
        yield path, value


def _written(value: Any) -> str:
    """A value as YAML in one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str):
        plain = value and value[0] not in "*&!|>%@`'\"#{}[]-?:, " and ": " not in value and " #" not in value
        return value if plain and value not in ("true", "false", "null") else f'"{value}"'
    return str(value)


def iter_keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str, Any, str]]:
    """Every key of the configuration: dotted name, type, default and its own words. For the reference page."""
    for name, field in model.model_fields.items():
        here = (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from iter_keys(field.annotation, here)
        else:
            yield (
                ".".join(here),
                _type_name(field.annotation),
                field.get_default(call_default_factory=True),
                documentation(field),
            )


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")
