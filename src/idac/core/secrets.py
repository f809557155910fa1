"""Secrets by name: from files that their owner alone may read, or from the environment. Never from dac.yaml itself."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from idac.core.errors import BadConfiguration
from idac.core.settings import Section

NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"


class SecretRef(Section):
    """A value that is kept elsewhere, under a name: ``{secret: s3-key}``."""

    secret: str = Field(pattern=NAME, max_length=63)
    """Name of the secret: lower-case letters, digits and hyphens, as Kubernetes and Vault take them."""


class SecretsSettings(Section):
    """Where secrets are kept."""

    backend: Literal["files", "environment"] = "files"
    """``files``: one file a secret in the folder below, which is also how Kubernetes and Vault's agent mount them.
    ``environment``: variables IDAC_SECRET_<NAME>, hyphens written as underscores."""
    folder: str = "./secrets"
    """Folder of secret files, relative to dac.yaml. Each must be readable by its owner (and group) alone."""


class SecretSource(Protocol):
    """Gives the value of a named secret."""

    def read(self, reference: SecretRef) -> str:
        """The secret's value, without a final line end. Raises BadConfiguration where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class FileSecrets:
    """Secrets as files of a folder."""

    folder: Path

    def read(self, reference: SecretRef) -> str:
        path = self.folder / reference.secret
        try:
            mode = path.stat().st_mode
            value = path.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError:
            raise _missing(reference, f"Put it into the file {reference.secret} of the secrets folder.") from None
        if mode & stat.S_IRWXO:
            raise BadConfiguration(
                "A secret may be read by everyone on this machine.",
                value=reference.secret,
                allowed="files that only their owner and group may read",
                next_step=f"Run: chmod 600 on the file {reference.secret} of the secrets folder.",
            )
        if not value:
            raise _missing(reference, f"The file {reference.secret} of the secrets folder is empty.")
        return value


@dataclass(frozen=True, slots=True)
class EnvironmentSecrets:
    """Secrets as environment variables."""

    def read(self, reference: SecretRef) -> str:
        variable = "IDAC_SECRET_" + re.sub("-", "_", reference.secret).upper()
        value = os.environ.get(variable)
        if not value:
            raise _missing(reference, f"Set the environment variable {variable}.")
        return value


def open_secrets(settings: SecretsSettings, folder: Path) -> SecretSource:
    """The source that the settings name; a relative path is taken from *folder*."""
    if settings.backend == "environment":
        return EnvironmentSecrets()
    path = Path(settings.folder).expanduser()
    return FileSecrets(path if path.is_absolute() else folder / path)


def _missing(reference: SecretRef, next_step: str) -> BadConfiguration:
    return BadConfiguration("A secret that dac.yaml names is missing.", value=reference.secret, next_step=next_step)
