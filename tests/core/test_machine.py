"""A container's share of the machine, as the kernel tells it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from idac.core.machine import _CHOSEN_HERE, memory_bytes, memory_limits, processor_limits, processors


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def test_version_2_bounds_a_process_by_its_group_and_those_round_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "kube/pod/memory.max": "max",
            "kube/pod/cpu.max": "150000 100000",
            "kube/memory.max": "4294967296",
            "kube/cpu.max": "max 100000",
        },
    )
    groups = "0::/kube/pod\n"
    assert list(memory_limits(tmp_path, groups)) == [4294967296]
    assert list(processor_limits(tmp_path, groups)) == [1.5]


def test_a_container_that_sees_its_own_group_as_the_root_is_bounded_by_it(tmp_path: Path) -> None:
    write(tmp_path, {"memory.max": "1073741824", "cpu.max": "400000 100000"})
    assert list(memory_limits(tmp_path, "0::/\n")) == [1073741824]
    assert list(processor_limits(tmp_path, "0::/\n")) == [4.0]


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "memory/docker/a1/memory.limit_in_bytes": "536870912",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "cpu/docker/a1/cpu.cfs_quota_us": "250000",
            "cpu/docker/a1/cpu.cfs_period_us": "100000",
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
        },
    )
    groups = "4:memory:/docker/a1\n2:cpu,cpuacct:/docker/a1\n0::/\n"
    assert list(memory_limits(tmp_path, groups)) == [536870912, 9223372036854771712]
    assert list(processor_limits(tmp_path, groups)) == [2.5]


def test_without_control_groups_there_is_no_bound(tmp_path: Path) -> None:
    assert not [*memory_limits(tmp_path, ""), *processor_limits(tmp_path, "0::/gone\n")]


def test_this_machine_has_some_of_both() -> None:
    assert 0 < memory_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1 <= processors() <= (os.cpu_count() or 1)


_MANY_THREADS = """
import ctypes, sys, threading
from idac.core.machine import share_freed_memory
share_freed_memory()
import pyarrow
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(40)
def work():
    libc.malloc(ctypes.c_size_t(1000))
    together.wait()
threads = [threading.Thread(target=work) for _ in range(40)]
[t.start() for t in threads], [t.join() for t in threads]
out = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fclose(ctypes.c_void_p(out))
print(pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.skipif(not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
@pytest.mark.parametrize(
    ("chosen", "pool", "arenas"),
    [
        ({}, "system", max(2, min(processors(), 8))),
        ({"MALLOC_ARENA_MAX": "3", "ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc", 3),
    ],
    ids=["by default", "as the environment says"],
)
def test_threads_share_few_arenas_and_arrow_has_none_of_its_own(
    tmp_path: Path, chosen: dict[str, str], pool: str, arenas: int
) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("MALLOC_ARENA_MAX", "ARROW_DEFAULT_MEMORY_POOL")}
    told = subprocess.run(
        [sys.executable, "-c", _MANY_THREADS, str(tmp_path / "arenas.xml")],
        capture_output=True, text=True, check=True, env=environment | chosen,
    )  # fmt: skip
    assert told.stdout == f"{pool}\n"
    assert len(re.findall("<heap nr=", (tmp_path / "arenas.xml").read_text())) == arenas


_RECYCLED = """
from idac.core.machine import recycle_arrow_buffers, share_freed_memory
share_freed_memory()
recycle_arrow_buffers()
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.skipif("jemalloc" not in pa.supported_memory_backends(), reason="pyarrow was built without jemalloc")
@pytest.mark.parametrize(
    ("chosen", "pool"),
    [({}, "jemalloc"), *(({"ARROW_DEFAULT_MEMORY_POOL": name}, name) for name in ("mimalloc", "system"))],
)
def test_buffers_are_recycled_unless_the_environment_names_an_allocator(chosen: dict[str, str], pool: str) -> None:
    ours = ("ARROW_DEFAULT_MEMORY_POOL", _CHOSEN_HERE)  # which commands that ran in this process have set
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    told = subprocess.run(
        [sys.executable, "-c", _RECYCLED], capture_output=True, text=True, check=True, env=environment | chosen
    )
    assert told.stdout == f"{pool}\n"
