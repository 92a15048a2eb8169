"""What machine generates: part of the lineage, because another CPU or GPU may round differently."""

from __future__ import annotations

import functools
import os
import platform


@functools.cache
def machine_name() -> str:
    """`AMD EPYC, 2 cores`; read from the operating system, without loading torch."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
            )
    except OSError:
        pass
    return f"{model}, {usable_cores()} cores"


def usable_cores() -> int:
    """CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
