"""Worker: what an engine does on its one worker thread before a model is loaded."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from raygen.engines.turns import CPU
from raygen.limits import usable_cores

# OpenMP reads these when torch is loaded. Threads that spin while they wait take cores from all else: beside two busy
# processes on 2 cores, passive ones gave 3 to 10 times the tokens a second. But a thread that sleeps at once is slow to
# wake, above all on a virtual machine. A short spin first, tens of microseconds, gave 1.5 times the tokens a second on a
# quiet machine, and 0.65 beside one busy process (docs/log.md).
OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


def start_torch(threads: int | None, device: str) -> str:
    """Set torch's threads, and return the torch device that `device` means.

    Args:
        threads: None: one for each core that this process may use.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    for name, value in OPENMP.items():
        os.environ.setdefault(name, value)
    import torch

    # Said outright: Ray sets OMP_NUM_THREADS by the CPUs that an actor asked for, and bits may depend on threads.
    torch.set_num_threads(threads or usable_cores())
    torch.get_num_threads()  # this thread keeps them from now on, whatever another engine of this process sets for its own
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def turn_on(device: str) -> tuple[AbstractContextManager[None], str]:
    """Return what to hold while computing on a device, and the words for the lineage on this thread's own threads there."""
    import torch

    if device == "cpu":
        threads = torch.get_num_threads()
        return CPU, f", {threads} thread{'s' * (threads != 1)}"
    return nullcontext(), ""
