"""The training board: a small actor to which the first worker posts its records, and where it reads whether to stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any


class TrainBoard:
    """Runs as a Ray actor without CPUs. Holds each record until the driver has read it.

    It may be killed and started again at any time: the driver repeats that the training is stopping.
    """

    def __init__(self) -> None:
        self._records: deque[dict[str, Any]] = deque()
        self._first = 0  # number of the oldest record held
        self._stopping = False

    def push(self, records: Sequence[dict[str, Any]]) -> bool:
        """Take records, in order; the answer is whether to stop."""
        self._records.extend(records)
        return self._stopping

    def read(self, since: int, stopping: bool = False) -> tuple[list[dict[str, Any]], int]:
        """Return the records from number `since` on, and the number to ask for next.

        Those before `since` have been read: they are forgotten. `stopping`: what the driver knows.
        """
        self._stopping |= stopping
        if since > self._first + len(self._records):  # asked of the actor that this one replaces
            self._first = since
        while self._records and self._first < since:
            self._records.popleft()
            self._first += 1
        return list(self._records), self._first + len(self._records)
