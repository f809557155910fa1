"""DALI parameters: names without case, one value unless the standard says many (DALI 1.1 section 3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from idac.core.errors import BadParameter

#: What a database can hold.
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that came in a request body and lies on disk until the request ends."""

    field_name: str
    filename: str
    content_type: str | None
    path: Path
    size: int


@dataclass(frozen=True)
class Parameters:
    """All parameters of a request, from URL and body together, in their order; names in upper case."""

    pairs: tuple[tuple[str, str], ...]
    files: Mapping[str, UploadedFile] = field(default_factory=dict)  # by form field name, as written

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], files: Mapping[str, UploadedFile] | None = None) -> Parameters:
        return cls(tuple((name.upper(), value) for name, value in pairs), files or {})

    def __contains__(self, name: str) -> bool:
        return any(own == name for own, _ in self.pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def many(self, name: str) -> list[str]:
        """Every value of a parameter that may be repeated."""
        return [value for own, value in self.pairs if own == name]

    def one(self, name: str) -> str | None:
        """The value, or None; a parameter given twice is refused unless both times say the same."""
        values = list(dict.fromkeys(self.many(name)))
        if len(values) > 1:
            raise BadParameter(
                f"{name} is given {len(values)} times with different values.",
                value=", ".join(repr(value) for value in values),
                allowed=f"one {name}",
                next_step="Send the parameter once.",
            )
        return values[0] if values else None

    def text(self, name: str) -> str | None:
        """The value without surrounding blanks; an empty one counts as not given."""
        value = self.one(name)
        return value.strip() or None if value is not None else None

    def required(self, name: str, meaning: str) -> str:
        value = self.text(name)
        if value is None:
            raise BadParameter(f"{name} is missing.", allowed=meaning, next_step=f"Add {name}=… to the request.")
        return value

    def integer(self, name: str, *, minimum: int = 0, maximum: int | None = None) -> int | None:
        """The value as a whole number within bounds, or None where it is not given."""
        value = self.text(name)
        if value is None:
            return None
        largest = _LARGEST if maximum is None else maximum
        allowed = f"a whole number, {minimum} to {largest}"
        digits = value.removeprefix("+")
        number = int(digits) if digits.removeprefix("-").isdecimal() and digits.isascii() and len(digits) < 20 else None
        if number is None or not minimum <= number <= largest:
            raise BadParameter(f"{name} has a value that is not allowed.", value=value, allowed=allowed)
        return number

    def choice(self, name: str, allowed: Iterable[str]) -> str | None:
        """The value in upper case, one of *allowed*, or None where it is not given."""
        value = self.text(name)
        options = list(allowed)
        if value is not None and value.upper() not in options:
            raise BadParameter(f"{name} has a value that is not allowed.", value=value, allowed=", ".join(options))
        return value.upper() if value is not None else None
