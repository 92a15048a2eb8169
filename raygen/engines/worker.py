"""Worker: the one thread on which an engine computes: how it begins, and whose turn it is.

Engines that compute on the cores of one process do so one after the other, each with all of them. Two engines that compute at
once, each with a thread for every core, wait at every barrier for threads that are not running; with half of the threads each,
cores idle whenever one of them has nothing to do.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext

from raygen.limits import usable_cores

# OpenMP reads these when torch is loaded. Threads that spin while they wait take cores from all else: beside two busy
# processes on 2 cores, passive ones gave 3 to 10 times the tokens a second. But a thread that sleeps at once is slow to
# wake, above all on a virtual machine. A short spin first, tens of microseconds, gave 1.5 times the tokens a second on a
# quiet machine, and 0.65 beside one busy process; three times as short a one costs few rows a sixth of their speed (docs/log.md).
OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "30000"}


class Turns:
    """A lock that is first come, first served: an engine that has just had its turn cannot take the next before others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()  # the first has its turn

    def __enter__(self) -> None:
        mine = threading.Event()
        with self._lock:
            self._line.append(mine)
            first = len(self._line) == 1
        if not first:
            mine.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._line.popleft()
            if self._line:
                self._line[0].set()


CPU = Turns()  # of this process's cores


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
