"""Posts: a worker's side of the training board: its records on their way to the driver, and whether it is to stop."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from raygen.storage import Store
from raygen.train.loop.records import is_evaluation, keep_part

PENDING = 64  # posts under way at once; with more, the worker waits for the oldest


class Posts:
    """A worker's side of the board: `posts(record)` returns at once, `posts.stopping` is the board's latest word.

    Args:
        store: the run directory.
        beside: goes into the record of every step, such as the number of workers.
    """

    def __init__(self, board: Any, store: Store, **beside: Any) -> None:
        self._board = board
        self._store = store
        self._beside = beside
        self._since: list[dict[str, Any]] = []  # said since the last checkpoint
        self._pending: deque[Any] = deque()
        self.stopping = False

    def __call__(self, record: dict[str, Any]) -> None:
        if not is_evaluation(record):
            record = {**record, **self._beside, "memory_bytes": resident_bytes()}
        self._since.append(record)
        self._pending.append(self._board.push.remote([record]))
        self._collect(PENDING)

    def keep(self, step: int) -> None:
        """Keep what was said, before a checkpoint of this step is written. Raises StorageError."""
        keep_part(self._store, step, self._since)
        self._since = []

    def flush(self) -> None:
        """Wait until the board has everything."""
        self._collect(0)

    def _collect(self, most: int) -> None:
        import ray

        while self._pending:
            wait_s = 0 if len(self._pending) <= most else None
            done, _ = ray.wait([self._pending[0]], timeout=wait_s)
            if not done:
                return
            self.stopping |= ray.get(self._pending.popleft())


def resident_bytes() -> int | None:
    """Return this process's memory; None where the system does not say."""
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
