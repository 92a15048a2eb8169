"""Turns: engines that compute on the cores of one process do so one after the other, each with all of them.

Two engines that compute at once, each with a thread for every core, wait at every barrier for threads that are not running;
with half of the threads each, cores idle whenever one of them has nothing to do.
"""

from __future__ import annotations

import threading
from collections import deque


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
