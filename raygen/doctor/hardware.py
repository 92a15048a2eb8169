"""Hardware: cores, memory and shared memory that this process may use, what its CPU can do, and its GPUs."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from raygen.doctor.finding import Finding, size
from raygen.limits import Limits, read_limits

LEAST_FREE_BYTES = 2 * 2**30  # Ray's own processes, its store and a small model
# As Linux names them: of x86, and of Arm below.
FEATURES = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"),
    *("asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2"),
)
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def check_cores_and_memory(limits: Limits | None = None) -> list[Finding]:
    """Look at cores and memory; of a container, what it was given."""
    limits = limits or read_limits()
    facts: dict[str, Any] = {"cores": limits.cores, "quota": limits.quota}
    if limits.quota is not None and limits.quota < limits.cores:
        cores = Finding(
            "cores",
            "warning",
            f"time of {limits.quota:g} cores (a quota), on any of {limits.cores}",
            "Engines start a thread for each core, and are then held back: give the container cores instead "
            "(docker run --cpuset-cpus, or the static CPU manager of Kubernetes)",
            facts,
        )
    else:
        cores = Finding("cores", "ok", f"{limits.cores} usable", facts=facts)
    facts = {"memory_bytes": limits.memory_bytes, "free_bytes": limits.free_bytes}
    if limits.memory_bytes is None:
        return [cores, Finding("memory", "ok", "unknown on this system", facts=facts)]
    free = "" if limits.free_bytes is None else f", {size(limits.free_bytes)} of it free"
    value = f"{size(limits.memory_bytes)} usable{free}"
    if limits.free_bytes is not None and limits.free_bytes < LEAST_FREE_BYTES:
        remedy = f"A run on Ray needs about {size(LEAST_FREE_BYTES)} beside its models; `raygen run --inline` needs less"
        return [cores, Finding("memory", "warning", value, remedy, facts)]
    return [cores, Finding("memory", "ok", value, facts=facts)]


def check_shared_memory(free_bytes: int | None = None) -> list[Finding]:
    """Is there room for Ray's object store? Containers often have 64 MiB.

    Args:
        free_bytes: of /dev/shm; None: look.
    """
    from raygen.cluster.connect import LOCAL_STORE_BYTES

    if free_bytes is None:
        if not os.path.isdir("/dev/shm"):
            return []  # no Linux: Ray does not use it
        free_bytes = shutil.disk_usage("/dev/shm").free
    facts = {"free_bytes": free_bytes, "wanted_bytes": LOCAL_STORE_BYTES}
    if free_bytes < LOCAL_STORE_BYTES:
        remedy = "Ray's store goes to a disk, which is slower: start the container with --shm-size=2g"
        return [Finding("shared memory", "warning", f"{size(free_bytes)} free in /dev/shm", remedy, facts)]
    return [Finding("shared memory", "ok", f"{size(free_bytes)} free in /dev/shm", facts=facts)]


def check_cpu(cpuinfo: str | None = None) -> list[Finding]:
    """Look at the CPU's model and at those of its features that engines gain by.

    Args:
        cpuinfo: the text of /proc/cpuinfo; None: this machine's.
    """
    if cpuinfo is None:
        path = Path("/proc/cpuinfo")
        cpuinfo = path.read_text() if path.exists() else ""
    first = cpuinfo.split("\n\n")[0]
    fields = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())
    }
    model = fields.get("model name") or platform.processor() or platform.machine()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    features = [name for name in FEATURES if name in flags]
    facts = {"model": model, "architecture": platform.machine(), "features": features}
    if not flags:
        return [Finding("cpu", "ok", f"{model}; its features are not told here", facts=facts)]
    value = f"{model}: {', '.join(features) or 'no vector instructions'}"
    if "flags" in fields and "avx2" not in features:
        return [
            Finding("cpu", "warning", value, "Without AVX2 local models are slow: use an endpoint", facts)
        ]
    bfloat16 = "with" if flags & set(BFLOAT16) else "without"
    return [Finding("cpu", "ok", f"{value} ({bfloat16} instructions for bfloat16)", facts=facts)]


def check_gpus(library: Any = None, driver: Callable[[], Sequence[str]] | None = None) -> list[Finding]:
    """Look at the GPUs that PyTorch can use, and whether it misses some that the system has.

    Args:
        library: PyTorch; None: import it.
        driver: the GPUs that the system has, by name; None: ask nvidia's driver.
    """
    if library is None and find_spec("torch") is None:
        return [Finding("gpus", "ok", "not looked at: no engine of this installation uses them")]
    torch = library or import_module("torch")
    there = (driver or driver_gpus)()
    gpus: list[Mapping[str, Any]] = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            gpus.append(
                {
                    "name": properties.name,
                    "memory_bytes": properties.total_memory,
                    "capability": f"{properties.major}.{properties.minor}",
                }
            )
    facts = {"gpus": gpus, "cuda": torch.version.cuda, "driver": list(there)}
    if gpus:
        names = ", ".join(f"{gpu['name']} ({size(gpu['memory_bytes'])})" for gpu in gpus)
        return [Finding("gpus", "ok", f"{names}; CUDA {torch.version.cuda}", facts=facts)]
    if not there:
        return [Finding("gpus", "ok", "none: models run on the CPU", facts=facts)]
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return [Finding("gpus", "ok", "none: CUDA_VISIBLE_DEVICES hides them", facts=facts)]
    value = f"PyTorch cannot use {', '.join(there)}"
    if torch.version.cuda is None:
        remedy = "This PyTorch is built for CPUs: install the one for CUDA (pytorch.org/get-started)"
    else:
        remedy = (
            f"Its CUDA {torch.version.cuda} wants a newer driver, or the GPUs are not given to this container"
        )
    return [Finding("gpus", "warning", value, remedy, facts)]


def driver_gpus(root: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Return the names of the GPUs that nvidia's driver has, whatever PyTorch can do with them."""
    names = []
    for path in sorted(root.glob("*/information")):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return names
