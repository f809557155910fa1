"""What of this machine a process may use: a container's share where it runs in one, and not the host's whole."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

#: ``M_ARENA_MAX`` of glibc's malloc.h.
_ARENA_MAX = -8
#: Threads beyond these share what others have: so many are seldom within malloc at one time.
_MOST_ARENAS = 8
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_ARROW_POOL = "ARROW_DEFAULT_MEMORY_POOL"
#: Marks an allocator for Arrow that was chosen here, and not by whoever started the process.
_CHOSEN_HERE = "IDAC_CHOSE_ARROW_POOL"


@cache
def memory_bytes() -> int:
    """Bytes of memory of the machine, or of the control group that bounds this process."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([whole, *memory_limits(_CONTROL_GROUPS, _own_groups())])


@cache
def processors() -> int:
    """Processors that this process may use, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(share) for share in processor_limits(_CONTROL_GROUPS, _own_groups()))]))


def share_freed_memory() -> None:
    """Let each thread take what others have freed, in this process and in those that it starts.

    Allocators keep what is freed for the thread that freed it: glibc in up to eight arenas for each processor, Arrow's
    own for every thread. Under an hour of queries by many threads that was as much memory again as was in use. What
    the environment says by ``MALLOC_ARENA_MAX`` and ``ARROW_DEFAULT_MEMORY_POOL`` stands. Arrow reads its choice once,
    so this comes before anything that imports it.
    """
    if _ARROW_POOL not in os.environ:
        os.environ |= {_ARROW_POOL: "system", _CHOSEN_HERE: "1"}
    arenas = os.environ.setdefault("MALLOC_ARENA_MAX", str(max(2, min(processors(), _MOST_ARENAS))))
    # glibc read its variable when the process began. Other C libraries have no arenas, and no function to bound them.
    with suppress(AttributeError, OSError, ValueError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, int(arenas))


def recycle_arrow_buffers() -> None:
    """Give Arrow's buffers to an allocator that keeps what is freed a while: for one that writes much in few threads.

    The system's takes each large buffer anew, as pages that must be cleared first: a tenth of the time of an ingest.
    What the environment names by ``ARROW_DEFAULT_MEMORY_POOL`` stands.
    """
    import pyarrow as pa  # noqa: PLC0415 - what asks for the size of the machine may have no use for it

    if (_ARROW_POOL not in os.environ or _CHOSEN_HERE in os.environ) and "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def memory_limits(root: Path, groups: str) -> Iterator[int]:
    """Bounds in bytes of the groups that ``/proc/self/cgroup`` lists as *groups*, and of those round them.

    *root* is where the kernel shows its control groups, version 1 or 2.
    """
    for folder in _folders(root, groups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            words = _words(folder / name)
            if words and words[0].isdigit():
                yield int(words[0])


def processor_limits(root: Path, groups: str) -> Iterator[float]:
    """The same for processors: how many may be kept busy all the time."""
    for folder in _folders(root, groups, "cpu"):
        words = _words(folder / "cpu.max") or [
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == len(("quota", "period")) and all(word.isdigit() for word in words) and int(words[1]):
            yield int(words[0]) / int(words[1])


def _own_groups() -> str:
    try:
        return _OWN_GROUPS.read_text(encoding="utf-8")
    except OSError:
        return ""


def _folders(root: Path, groups: str, controller: str) -> Iterator[Path]:
    """The folders of a controller's groups, inside out. A container may see its own as the root."""
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top = root
        elif controller in controllers.split(","):
            top = root / controller
        else:
            continue
        inside = Path(path.lstrip("/"))
        for part in (inside, *inside.parents):
            yield top / part


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
