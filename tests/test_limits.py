"""Limits: what a process may use is the least of its affinity, the machine and every group above it, as Linux tells them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raygen.limits import read_limits

GIB = 2**30


@pytest.fixture
def linux(tmp_path: Path):
    """A tree of files as Linux has them: 64 GiB of memory, 40 free, in no group; `linux(path=text)` adds files."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    write({"proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {40 * 2**20} kB\n"})
    write({"proc/self/cgroup": "0::/\n"})
    return write


def test_without_groups_the_machine_is_the_limit(linux) -> None:
    limits = read_limits(linux({}))
    assert (limits.quota, limits.memory_bytes, limits.free_bytes) == (None, 64 * GIB, 40 * GIB)
    assert limits.cores == len(os.sched_getaffinity(0))


def test_a_container_has_its_quota_and_its_memory(linux) -> None:
    root = linux(
        {
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{5 * GIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {2 * GIB}\n",
        }
    )
    limits = read_limits(root)
    assert limits.quota == 1.5
    assert limits.memory_bytes == 8 * GIB
    assert limits.free_bytes == 5 * GIB, "page cache that the system may drop is free"


def test_the_least_of_all_groups_above_counts(linux) -> None:
    groups = "sys/fs/cgroup/system.slice"
    root = linux(
        {
            "proc/self/cgroup": "0::/system.slice/job.service\n",
            f"{groups}/job.service/cpu.max": "max 100000\n",
            f"{groups}/job.service/memory.max": f"{32 * GIB}\n",
            f"{groups}/job.service/memory.current": "0\n",
            f"{groups}/cpu.max": "400000 100000\n",
            f"{groups}/memory.max": f"{16 * GIB}\n",
            f"{groups}/memory.current": f"{15 * GIB}\n",
        }
    )
    limits = read_limits(root)
    assert (limits.quota, limits.memory_bytes, limits.free_bytes) == (4.0, 16 * GIB, GIB)


def test_groups_of_version_1_are_read_too(linux) -> None:
    # The path is that outside the container; inside, the group stands at the top.
    root = linux(
        {
            "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB}\n",
        }
    )
    limits = read_limits(root)
    assert (limits.quota, limits.memory_bytes, limits.free_bytes) == (2.5, 4 * GIB, 2 * GIB)


def test_version_1_writes_no_limit_as_numbers(linux) -> None:
    root = linux(
        {
            "proc/self/cgroup": "5:memory:/\n4:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
        }
    )
    limits = read_limits(root)
    assert (limits.quota, limits.memory_bytes, limits.free_bytes) == (None, 64 * GIB, 40 * GIB)


def test_a_group_over_its_limit_has_nothing_free(linux) -> None:
    root = linux({"sys/fs/cgroup/memory.max": f"{GIB}\n", "sys/fs/cgroup/memory.current": f"{2 * GIB}\n"})
    assert read_limits(root).free_bytes == 0


def test_another_system_tells_less_and_breaks_nothing(tmp_path: Path) -> None:
    limits = read_limits(tmp_path)
    assert limits.cores >= 1
    assert limits.quota is None
    assert limits.free_bytes is None


def test_this_machine_can_be_read() -> None:
    limits = read_limits()
    assert limits.memory_bytes is None or limits.memory_bytes > 2**28
    assert limits.free_bytes is None or limits.free_bytes <= (limits.memory_bytes or 0)
