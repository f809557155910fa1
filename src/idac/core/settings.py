"""The base of every section of dac.yaml; each folder's ``settings.py`` holds its own section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A part of dac.yaml: frozen, unknown keys refused, and each field's docstring is its documentation.

    A relative path becomes one from the folder of dac.yaml when the section is loaded from there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    @field_validator("*", mode="after")
    @classmethod
    def _from_folder(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Path) or not info.context:
            return value
        folder: Path = info.context["folder"]
        return folder / value.expanduser()
