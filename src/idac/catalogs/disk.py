"""A disk that is full or may not be written to, from whichever library met it, as an error for the publisher."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from idac.core.errors import ResourceExhausted, StoreUnavailable, UserError, with_hidden

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raises ResourceExhausted where the disk was full, and StoreUnavailable where a folder may not be written to."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        known = _explained(error)
        if known is None:
            raise
        raise known from error


def _explained(error: BaseException) -> UserError | None:
    """What the error, or one that it hides, says about the disk: libraries stumble once more while they clean up."""
    for cause in with_hidden(error):
        number, words = (cause.errno, cause.strerror) if isinstance(cause, OSError) else (None, None)
        if number in _FULL or "No space left" in str(cause):
            return ResourceExhausted(
                "The disk is full, so the table was not published; the unfinished files were removed.",
                allowed="about three times the table's size in free space",
                next_step="Free some space, or set catalogs.ingest.spill to a folder on a larger disk.",
            )
        if number in _CLOSED:
            return StoreUnavailable(
                "A folder that publishing needs can't be written to, so nothing was published.",
                value=words,
                allowed="an archive, a spill folder and a rejects file that the user who runs idac may write",
                next_step="Check their owners and permissions, and whether the disk is mounted read-only.",
            )
    return None
