"""TAP's UPLOAD parameter (TAP 1.1 section 2.6): which tables a request brings, and from where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from idac.core.errors import BadParameter, TooLarge
from idac.query.settings import UploadSettings
from idac.tables.names import RESERVED_WORDS

_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
#: TAP 1.0 lists several uploads with ';', which an address may contain as well: only one before 'name,' separates.
_NEXT_UPLOAD = re.compile(r";(?=\s*[A-Za-z][A-Za-z0-9_]*\s*,)", re.ASCII)


@dataclass(frozen=True, slots=True)
class UploadSpec:
    """One ``UPLOAD=name,uri``."""

    name: str
    uri: str

    @property
    def inline(self) -> str | None:
        """The name of the form's file, for ``param:`` addresses."""
        scheme, _, rest = self.uri.partition(":")
        return rest if scheme.lower() == "param" else None


def parse_uploads(values: Sequence[str], settings: UploadSettings) -> tuple[UploadSpec, ...]:
    """All uploads of a request, whether the parameter is repeated or its value a list."""
    specs: list[UploadSpec] = []
    for value in values:
        specs.extend(_parse_upload(part) for part in _NEXT_UPLOAD.split(value.rstrip("; ")) if part.strip())
    names = [spec.name.lower() for spec in specs]
    if len(set(names)) < len(names):
        raise BadParameter(
            "Two uploads have the same name.", value=", ".join(spec.name for spec in specs), allowed="distinct names"
        )
    if len(specs) > settings.max_tables:
        raise TooLarge(
            "The query has too many uploads.",
            value=str(len(specs)),
            allowed=f"{settings.max_tables} tables (query.uploads.max_tables)",
        )
    return tuple(specs)


def _parse_upload(text: str) -> UploadSpec:
    name, comma, uri = (part.strip() for part in text.partition(","))
    if not comma or not uri or ":" not in uri:
        raise BadParameter(
            "UPLOAD can't be read.", value=text, allowed="name,param:field or name,http://host/file", next_step=_HELP
        )
    if not _TABLE_NAME.fullmatch(name) or name.upper() in RESERVED_WORDS:
        raise BadParameter(
            "This is no name for an uploaded table.",
            value=name,
            allowed="letters, digits and underscores, beginning with a letter, and no reserved word of ADQL",
            next_step=_HELP,
        )
    return UploadSpec(name, uri)


_HELP = "The query then reads TAP_UPLOAD.name."
