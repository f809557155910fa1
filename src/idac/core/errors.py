"""One family of errors whose text may reach the person who asked.

Everything outside this family is a fault: the caller gets an id to quote and the log gets the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a text the trouble is; both counted from 1, as editors do."""

    line: int
    column: int
    file: str | None = None

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}"
        return f"{self.file}, {where}" if self.file else where


class UserError(Exception):
    """Something the caller can mend: what was refused, the value, what is allowed, what to do next.

    Subclasses declare the stable ``code`` that clients may test for, the HTTP ``status`` and the DALI 1.1
    (section 4.2) / SODA fault word; they are the whole interface between an error and its faces.
    """

    code: ClassVar[str] = "usage"
    status: ClassVar[int] = 400
    dali: ClassVar[str] = "UsageFault"
    #: Exit code of the ``idac`` command (documented in docs/reference/exit-codes.md).
    exit_code: ClassVar[int] = 2
    #: Whose credential was refused, where that is known: for the audit log, and no part of the text.
    holder: str | None = None

    def __init__(
        self,
        what: str,
        *,
        value: object = None,
        allowed: str | None = None,
        next_step: str | None = None,
        position: Position | None = None,
    ) -> None:
        self.what = what
        self.value = None if value is None else _shorten(str(value))
        self.allowed = allowed
        self.next_step = next_step
        self.position = position
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """The whole message, one paragraph, as every face but JSON prints it."""
        parts = [f"{self.position}: {self.what}" if self.position else self.what]
        if self.value is not None:
            parts.append(f"Given: {self.value}.")
        if self.allowed:
            parts.append(f"Allowed: {self.allowed}.")
        if self.next_step:
            parts.append(self.next_step)
        return " ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not pickle by themselves, and workers send them between processes.
        return (_rebuild, (type(self), self.what, self.value, self.allowed, self.next_step, self.position))


def _rebuild(
    kind: type[UserError],
    what: str,
    value: str | None,
    allowed: str | None,
    next_step: str | None,
    position: Position | None,
) -> UserError:
    return kind(what, value=value, allowed=allowed, next_step=next_step, position=position)


def _shorten(text: str, limit: int = 200) -> str:
    """Keep an error readable when the refused value is huge, such as a 50 MB query."""
    return text if len(text) <= limit else f"{text[: limit - 20]}… ({len(text)} characters)"


class BadParameter(UserError):
    """A protocol parameter (DALI, UWS, SCS) has a value that is not allowed."""

    code = "bad-parameter"


class BadQuery(UserError):
    """The ADQL text is not a query this service can answer; carries line and column."""

    code = "bad-query"


class BadConfiguration(UserError):
    """dac.yaml, an overlay or a secret can't be used as it is written."""

    code = "bad-configuration"
    exit_code = 3


class BadData(UserError):
    """An input file or upload can't be read as what it claims to be, or breaks a promise of its table."""

    code = "bad-data"
    exit_code = 4


class NotFound(UserError):
    """The thing named does not exist, or may not be known to the caller."""

    code = "not-found"
    status = 404
    dali = "NotFoundFault"
    exit_code = 5


class NotAuthenticated(UserError):
    """The request needs a log-in and came without one."""

    code = "not-authenticated"
    status = 401
    dali = "AuthenticationFault"
    exit_code = 6


class AccessDenied(UserError):
    """The caller is known, and lacks the right that the message names."""

    code = "access-denied"
    status = 403
    dali = "AuthorizationFault"
    exit_code = 6


class Conflict(UserError):
    """The thing exists already, or is in a state that forbids the request."""

    code = "conflict"
    status = 409
    exit_code = 7


class TooLarge(UserError):
    """The request or its result is over a limit; the message names the limit and its setting."""

    code = "too-large"
    status = 413
    exit_code = 8


class ResourceExhausted(UserError):
    """The work needs more memory, disk or time than this centre allows one query."""

    code = "resource-exhausted"
    status = 400
    exit_code = 8


class Busy(UserError):
    """Too much is asked of the service at this moment; the same request may succeed later."""

    code = "busy"
    status = 503
    dali = "TransientFault"
    exit_code = 9


class TooOften(UserError):
    """The caller asks, or tries, more often than is allowed; after a while it may again."""

    code = "too-often"
    status = 429
    dali = "TransientFault"
    exit_code = 9

    def __init__(
        self,
        what: str,
        *,
        value: object = None,
        allowed: str | None = None,
        next_step: str | None = None,
        position: Position | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what, value=value, allowed=allowed, next_step=next_step, position=position)


class StoreUnavailable(Busy):
    """The archive, result store or state database does not answer."""

    code = "store-unavailable"


class Cancelled(UserError):
    """The work was stopped because its owner aborted it, deleted it or went away."""

    code = "cancelled"
    status = 400
    exit_code = 130


def with_hidden(error: BaseException | None) -> Iterator[BaseException]:
    """*error*, and those that it hides, each once: one that is raised again may stand among those that it hides."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
