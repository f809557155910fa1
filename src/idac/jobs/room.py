"""What a quota says of a caller's jobs: how many may wait, and how much room their results may take."""

from __future__ import annotations

from idac.core.errors import TooLarge, TooOften
from idac.core.quota import JobUse, Quota, shown_bytes

#: Results that a refusal names.
_NAMED = 3
#: Seconds after which a caller whose jobs wait may look again; nobody knows when one of them will begin.
_LOOK_AGAIN_S = 30


def require_room(quota: Quota, use: JobUse) -> None:
    """Raise TooOften or TooLarge where a caller who has *use* of the quota may have no further job."""
    if quota.queued is not None and use.waiting >= quota.queued:
        raise TooOften(
            "Too many of your jobs are waiting.",
            value=f"{use.waiting} waiting, {use.running} running",
            allowed=f"{quota.queued} that wait, your quota",
            next_step="Wait until one of them runs, or delete one. /auth/quota shows your limits.",
            retry_after_s=_LOOK_AGAIN_S,
        )
    if quota.result_bytes is not None and use.result_bytes >= quota.result_bytes:
        raise TooLarge(
            "Your results take all the room that you have.",
            value=shown_bytes(use.result_bytes),
            allowed=f"{shown_bytes(quota.result_bytes)} of results, your quota",
            next_step=_what_to_delete(use),
        )


def no_room_left(quota: Quota, use: JobUse) -> TooLarge:
    """The error of a job whose result is more than what its owner has left."""
    limit = quota.result_bytes or 0
    return TooLarge(
        "The result is larger than the room that you have left.",
        value=f"more than {shown_bytes(max(0, limit - use.result_bytes))}",
        allowed=f"{shown_bytes(limit)} of results, your quota, of which {shown_bytes(use.result_bytes)} are taken",
        next_step=f"Ask for fewer rows or columns, or make room. {_what_to_delete(use)}",
    )


def _what_to_delete(use: JobUse) -> str:
    if not use.largest:
        return "/auth/quota shows your limits."
    largest = ", ".join(f"{kept.job_id} ({shown_bytes(kept.size)})" for kept in use.largest[:_NAMED])
    until = min(kept.until for kept in use.largest)
    return (
        f"Delete jobs that you need no more; the largest are {largest}. "
        f"The first of these is deleted by itself at {until:%Y-%m-%d %H:%M} UTC."
    )
