"""``idac init``: a folder with a commented dac.yaml in it."""

from __future__ import annotations

from pathlib import Path

import click

from idac.cli.output import print_json
from idac.core.errors import BadParameter, Conflict
from idac.core.loading import load_settings
from idac.core.settings import Section
from idac.wiring.settings import DacSettings

#: Keys that a newcomer meets first; the rest are in `idac config show` and the reference.
_SHOWN: dict[str, dict[str, str]] = {
    "centre": {"title": "My Data Access Centre", "publisher": '""', "contact_email": '""'},
    "server": {"host": "127.0.0.1", "port": "8080"},
    "archive": {"location": "./archive"},
    "results": {"location": "./results"},
    "state": {"database": "sqlite:///state.db"},
    "catalogs": {"default_read": "[public]"},
}
_HEADER = """\
# A Data Access Centre. Every key has a default; these are the ones to look at first.
#   idac config show      every key, its value and where it came from
#   idac config check     faults, with line and column
# What differs between environments goes into environments/NAME.yaml, used with idac --env NAME.
"""
_IGNORED = "# Never commit secrets or data.\nsecrets/\narchive/\nresults/\nstate.db*\n"


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: Path, as_json: bool) -> None:
    """Write a commented dac.yaml into FOLDER, which is made if need be. Nothing is overwritten."""
    target = folder / "dac.yaml"
    if target.exists():
        raise Conflict(
            "There is a configuration here already.",
            value=str(target),
            next_step="Edit it, or name another folder. Nothing was changed.",
        )
    try:
        _write(folder, target)
    except OSError as error:
        raise BadParameter(
            "The folder can't be written to.",
            value=f"{folder}: {error.strerror}",
            allowed="a folder of yours, or the name of a new one",
            next_step="Name another folder.",
        ) from None
    if as_json:
        print_json({"file": str(target)})
        return
    there = "" if folder == Path() else f"cd {folder} && "
    click.echo(f"Wrote {target}. Next:\n  {there}idac catalog add TABLE --name SCHEMA.TABLE\n  idac up")


def _write(folder: Path, target: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(template(), encoding="utf-8")
    load_settings(DacSettings, target)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text(_IGNORED, encoding="utf-8")


def template() -> str:
    """The text of a new dac.yaml: its comments are the settings' own words."""
    lines = [_HEADER]
    for section, keys in _SHOWN.items():
        model = DacSettings.model_fields[section].annotation
        assert isinstance(model, type) and issubclass(model, Section)  # noqa: S101, PT018  sections are sections
        lines.append(f"{section}:")
        for key, value in keys.items():
            lines += [f"  # {line}" for line in _wrapped(model.model_fields[key].description or "")]
            lines.append(f"  {key}: {value}")
        lines.append("")
    return "\n".join(lines)


def _wrapped(text: str, width: int = 108) -> list[str]:
    lines, current = [], ""
    for word in text.replace("``", "'").split():
        if current and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}".strip()
    return [*lines, current] if current else lines
