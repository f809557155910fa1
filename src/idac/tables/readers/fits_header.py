"""FITS headers and the walk from one HDU to the next (FITS 4.0, sections 3 and 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from idac.core.errors import BadData
from idac.tables.readers.source import ReadLimits

BLOCK = 2880
_CARD = 80
#: Far above any real header (1 000 columns with eight cards each take 700 kB).
_MAX_INTEGER_DIGITS = 19
_STRING = re.compile(r"'((?:[^']|'')*)'")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)

type CardValue = str | int | float | bool


@dataclass(slots=True)
class FitsHeader:
    """The cards of one HDU."""

    values: dict[str, CardValue] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)

    def text(self, key: str) -> str | None:
        """The trimmed string of a card; None where it is missing, empty or no string."""
        value = self.values.get(key)
        return value.strip() or None if isinstance(value, str) else None

    def whole(self, key: str, default: int = 0) -> int:
        """A count or size: an integer of 0 or more."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
            raise BadData(
                f"The FITS header's {key} can't be used.",
                value=value,
                allowed="an integer of 0 or more",
                next_step="The header is damaged; write or send the file again.",
            )
        return value

    def number(self, key: str, default: float) -> float | int:
        value = self.values.get(key, default)
        if isinstance(value, bool | str):
            raise BadData(
                f"The FITS header's {key} can't be used.",
                value=value,
                allowed="a number",
                next_step="The header is damaged; write or send the file again.",
            )
        return value

    @property
    def data_bytes(self) -> int:
        """Size of the data that follow the header, without the padding (FITS 4.0, equation 2)."""
        axes = self.whole("NAXIS")
        if axes == 0:
            return 0
        if axes > 999:
            raise BadData(
                "The FITS header's NAXIS can't be used.",
                value=axes,
                allowed="0 to 999",
                next_step="The header is damaged; write or send the file again.",
            )
        sizes = [self.whole(f"NAXIS{i}") for i in range(1, axes + 1)]
        if sizes[0] == 0 and self.values.get("GROUPS") is True:
            sizes = sizes[1:]
        count = 1
        for size in sizes:
            count *= size
        bits = self.values.get("BITPIX", 8)
        width = abs(bits) // 8 if isinstance(bits, int) else 1
        return width * self.whole("GCOUNT", 1) * (self.whole("PCOUNT") + count)

    @property
    def name(self) -> str | None:
        return self.text("EXTNAME")

    @property
    def kind(self) -> str:
        """``BINTABLE``, ``TABLE``, ``IMAGE`` …; the primary HDU is an image."""
        return (self.text("XTENSION") or "IMAGE").upper()

    @property
    def is_table(self) -> bool:
        return self.kind in ("BINTABLE", "A3DTABLE", "TABLE") and self.values.get("ZIMAGE") is not True


@dataclass(frozen=True, slots=True)
class Hdu:
    """One HDU and where its data begin."""

    number: int
    header: FitsHeader
    data_start: int

    @property
    def label(self) -> str:
        name = f" {self.header.name}" if self.header.name else ""
        return f"{self.number}{name} ({self.header.kind})"


def iter_hdus(read: Callable[[int], bytes], skip: Callable[[int], int], limits: ReadLimits) -> Iterator[Hdu]:
    """The HDUs in order. *read* and *skip* go forward from the file's first byte; a file that ends early is let be:
    whoever needs the missing data says so."""
    place, number = 0, 0
    while True:
        read_header = _read_header(read, limits, number)
        if read_header is None:
            return
        header, size = read_header
        place += size
        yield Hdu(number, header, place)
        length = -(-header.data_bytes // BLOCK) * BLOCK
        if skip(length) < length:
            return
        place += length
        number += 1


def _read_header(read: Callable[[int], bytes], limits: ReadLimits, number: int) -> tuple[FitsHeader, int] | None:
    cards: list[bytes] = []
    size = 0
    while True:
        block = read(BLOCK)
        if not cards and _is_no_hdu(block, number):
            return None
        size += len(block)
        if len(block) < BLOCK or size > limits.max_header_bytes:
            raise BadData(
                "The FITS file is cut short within a header." if len(block) < BLOCK else "A FITS header is too long.",
                value=f"HDU {number}, after {size} bytes of header",
                allowed=f"a header with an END card, at most {limits.max_header_bytes} bytes (max_header_bytes)",
                next_step="Write or send the file again.",
            )
        for start in range(0, BLOCK, _CARD):
            card = block[start : start + _CARD]
            if card[:8] == b"END     ":
                return _parse_cards(cards), size
            cards.append(card)


def _is_no_hdu(block: bytes, number: int) -> bool:
    """Special records or padding may follow the last HDU (FITS 4.0, section 3.5)."""
    if number == 0:
        return False
    return not block.startswith(b"XTENSION")


def _parse_cards(cards: list[bytes]) -> FitsHeader:
    header = FitsHeader()
    last_key: str | None = None
    for raw in cards:
        card = raw.decode("latin-1")
        key = card[:8].rstrip()
        if key == "CONTINUE" and last_key is not None:
            _continue(header, last_key, card[8:])
        elif key in ("COMMENT", "HISTORY"):
            header.comments.append(f"{key}: {card[8:].strip()}")
        elif card[8:10] == "= ":
            value = _parse_value(card[10:])
            last_key = key if isinstance(value, str) else None
            if value is not None:
                header.values.setdefault(key, value)
        elif key == "HIERARCH" and "=" in card:
            name, _, text = card[8:].partition("=")
            value = _parse_value(text)
            if value is not None:
                header.values.setdefault(f"HIERARCH {name.strip()}", value)
    return header


def _continue(header: FitsHeader, key: str, text: str) -> None:
    """Long strings go on in CONTINUE cards, an ampersand at the end of each part but the last (section 4.2.1.2)."""
    before = header.values.get(key)
    more = _parse_value(text)
    if isinstance(before, str) and isinstance(more, str) and before.endswith("&"):
        header.values[key] = before[:-1] + more


def _parse_value(text: str) -> CardValue | None:
    text = text.strip()
    found = _STRING.match(text)
    if found:
        return found.group(1).replace("''", "'").rstrip()
    word = text.partition("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    if _INTEGER.fullmatch(word) and len(word.lstrip("+-")) <= _MAX_INTEGER_DIGITS:
        return int(word)
    try:
        return float(word.replace("D", "E").replace("d", "e")) if word[:1] in "+-.0123456789" and word else None
    except ValueError:
        return None
