"""Machine: which one generates is part of the lineage, because another CPU or GPU may round differently."""

from __future__ import annotations

import functools
import platform

from raygen.limits import usable_cores


@functools.cache
def machine_name() -> str:
    """Return what this machine is called: `AMD EPYC, 2 cores`; read from the operating system, without loading torch."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
            )
    except OSError:
        pass
    return f"{model}, {usable_cores()} cores"
