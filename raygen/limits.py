"""Limits: the cores and the memory that this process may use, by its affinity, the machine, and its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS = "sys/fs/cgroup"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may use.

    Attributes:
        cores: the number of cores that it may run on, by affinity.
        quota: its share of CPU time, in cores (1.5: one and a half); None: no quota.
        memory_bytes: the machine's memory, or the group's limit if that is less; None: unknown.
        free_bytes: the part of that memory which is free now, page cache included; None: unknown.
    """

    cores: int
    quota: float | None
    memory_bytes: int | None
    free_bytes: int | None


def usable_cores() -> int:
    """Return the number of CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_limits(root: Path = Path("/")) -> Limits:
    """Return the limits of this process, from the files below `root` (Linux); elsewhere what Python knows."""
    quotas = [quota for folder in _groups(root, "cpu") if (quota := _quota(folder)) is not None]
    memory, free = _machine_memory(root)
    for folder in _groups(root, "memory"):
        limit, used = _group_memory(folder)
        if limit is not None and (memory is None or limit < memory):
            memory = limit
        if limit is not None and used is not None:
            free = max(0, min(limit - used, free if free is not None else limit))
    return Limits(usable_cores(), min(quotas, default=None), memory, free)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, innermost first: version 2, then version 1."""
    for line in _text(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # A container often sees its own group at the top, whatever its path is called outside.
        for top in (controllers, controller) if controllers else (".", "unified"):
            base = root / GROUPS / top
            inner = base / own.lstrip("/")
            while inner != base and base in inner.parents:
                yield inner
                inner = inner.parent
            yield base


def _quota(folder: Path) -> float | None:
    """Return a group's CPU quota in cores; None: it has none."""
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # `max`, or no such group
    return cores if cores > 0 else None


def _group_memory(folder: Path) -> tuple[int | None, int | None]:
    """Return a group's limit and what of it is taken, in bytes; files that the system may drop do not count as taken."""
    for limit, used, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, taken = _number(_text(folder / limit)), _number(_text(folder / used))
        if most is not None:
            fields = dict(line.partition(" ")[::2] for line in _text(folder / "memory.stat").splitlines())
            cache = _number(fields.get(dropped, "")) or 0
            return most, None if taken is None else max(0, taken - cache)
    return None, None


def _machine_memory(root: Path) -> tuple[int | None, int | None]:
    fields = dict(line.partition(":")[::2] for line in _text(root / "proc/meminfo").splitlines())
    sizes = [_number(fields.get(name, "").strip().partition(" ")[0]) for name in ("MemTotal", "MemAvailable")]
    memory, free = (None if size is None else size * 1024 for size in sizes)
    if memory is None:
        try:
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            pass  # no POSIX
    return memory, free


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
