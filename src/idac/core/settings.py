"""The base of every section of dac.yaml; each folder's ``settings.py`` holds its own section."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of dac.yaml: frozen, unknown keys refused, and each field's docstring is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)
