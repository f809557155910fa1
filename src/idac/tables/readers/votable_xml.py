"""XML events for VOTables from strangers: no entities, nothing fetched, bounded depth and tag size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn
from xml.parsers import expat

from idac.core.errors import BadData, Position
from idac.tables.readers.source import ReadLimits

#: How much of a tag may wait for its end; attributes of real VOTables are far below.
_MAX_TAG_BYTES = 4 * 2**20
_TEXT_BUFFER = 256 * 1024


class XmlReader:
    """Expat, fed by hand. Handlers get local names: the prefixes of VOTable 1.1 to 1.5 are all one to us."""

    def __init__(
        self,
        start: Callable[[str, Mapping[str, str]], None],
        end: Callable[[str], None],
        text: Callable[[str], None],
        limits: ReadLimits,
    ) -> None:
        self._start, self._end = start, end
        self._limits = limits
        self._depth = 0
        self._fed = 0
        self._finished = False
        #: Lines and bytes that went past the parser, so that its positions can be put right.
        self._skipped_lines = 0
        self.encoding = "utf-8"
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = _TEXT_BUFFER
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartElementHandler = self._start_element
        parser.EndElementHandler = self._end_element
        parser.CharacterDataHandler = text
        parser.EntityDeclHandler = self._refuse_entity
        parser.UnparsedEntityDeclHandler = self._refuse_entity
        parser.ExternalEntityRefHandler = self._refuse_entity
        parser.SkippedEntityHandler = self._refuse_entity
        parser.XmlDeclHandler = self._declaration
        self._parser = parser

    @property
    def position(self) -> Position:
        """Where the parser stands in the whole document."""
        return Position(self._parser.CurrentLineNumber + self._skipped_lines, self._parser.CurrentColumnNumber + 1)

    def feed(self, data: bytes) -> None:
        """Parse the next bytes; BadData for anything that is no XML."""
        self._parse(data, final=False)
        self._fed += len(data)
        if self._fed - self._parser.CurrentByteIndex > len(data) + _MAX_TAG_BYTES:
            raise BadData(
                "A tag of the VOTable is too long.",
                value=f"more than {_MAX_TAG_BYTES} bytes",
                allowed=f"at most {_MAX_TAG_BYTES} bytes a tag",
                next_step="Check the file: a quote may be missing.",
                position=self.position,
            )

    def skip(self, data: bytes) -> None:
        """Note bytes that were read without the parser; they must be whole elements."""
        self._skipped_lines += data.count(b"\n")

    def finish(self) -> None:
        """Say that the document ends here; BadData where it may not. Saying it again does nothing."""
        if not self._finished:
            self._finished = True
            self._parse(b"", final=True)

    def _parse(self, data: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except (expat.ExpatError, UnicodeError, LookupError, ValueError) as error:
            code = getattr(error, "code", 0)
            reason = expat.errors.messages.get(code, "unknown encoding") if code else "unknown encoding"
            raise BadData(
                "The VOTable is no well-formed XML: it is damaged or cut short.",
                value=reason,
                allowed="a whole XML document",
                next_step="Write or send the file again; `xmllint` or `stilts votlint` finds what is wrong.",
                position=self.position,
            ) from error

    def _start_element(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > self._limits.max_depth:
            raise BadData(
                "The VOTable's elements are nested too deep.",
                value=f"more than {self._limits.max_depth} levels",
                allowed=f"at most {self._limits.max_depth} levels (max_depth)",
                next_step="Check how the file was made.",
                position=self.position,
            )
        self._start(name.rpartition(":")[2], attributes)

    def _end_element(self, name: str) -> None:
        self._depth -= 1
        self._end(name.rpartition(":")[2])

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        self.encoding = (encoding or "utf-8").lower()

    def _refuse_entity(self, *declared: object) -> NoReturn:
        raise BadData(
            "The VOTable declares or uses an XML entity of its own.",
            value=declared[0],
            allowed="the five entities that XML has by itself, and character numbers",
            next_step="Write the text itself where the entity stands.",
            position=self.position,
        )
