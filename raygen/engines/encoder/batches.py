"""Encoder batches: which texts are computed together. Plain Python: lengths in, batches out.

A text waits in the queue of its padded length, which depends on its own length only; a batch takes from one queue.
The queue whose first text has waited longest is next, so no text starves, and what came meanwhile rides along. Texts that
somebody waits for go before those of batches, of which one turn in a few keeps going.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from raygen.engines.requests import INTERACTIVE

TURN = 8  # one batch of so many is a batch's, however many people wait
UNIT = 16  # padded lengths are multiples: rows of matrix products agree bit for bit at such sizes


class Waiting(Protocol):
    """A text in the queue."""

    @property
    def size(self) -> int:
        """Tokens."""

    @property
    def cancelled(self) -> bool:
        """Does nobody want it any more? It is then never handed out. May change at any time, from any thread."""


T = TypeVar("T", bound=Waiting)


def padded_length(size: int, longest: int | None = None) -> int:
    """Return the length to which a text of so many tokens is padded: a multiple of UNIT, or `longest` if that is less."""
    length = max(UNIT, -(-size // UNIT) * UNIT)
    return length if longest is None else min(length, longest)


class EncoderBatches(Generic[T]):
    """Texts that wait, by padded length.

    Args:
        max_tokens: of one batch, padding included; a text that is longer by itself makes a batch alone.
        max_rows: texts of one batch.
        longest: no text is padded beyond this; None: there is no such limit.
    """

    def __init__(self, max_tokens: int, max_rows: int, longest: int | None = None) -> None:
        self._max_tokens = max_tokens
        self._max_rows = max_rows
        self._longest = longest
        # By priority and padded length; each text with its arrival.
        self._queues: dict[tuple[int, int], deque[tuple[int, T]]] = {}
        self._arrived = 0
        self._passed = 0  # turns since a batch had one

    def add(self, texts: Iterable[T], priority: int = INTERACTIVE) -> None:
        for text in texts:
            key = priority, padded_length(text.size, self._longest)
            queue = self._queues.setdefault(key, deque())
            queue.append((self._arrived, text))
            self._arrived += 1

    def take(self) -> tuple[int, list[T]]:
        """Return the next batch: its padded length, and its texts in the order of arrival; (0, []) if none waits."""
        for key, queue in list(self._queues.items()):
            while queue and queue[0][1].cancelled:
                queue.popleft()
            if not queue:
                del self._queues[key]
        if not self._queues:
            return 0, []
        key = self._next()
        queue, length = self._queues[key], key[1]
        rows = max(1, min(self._max_rows, self._max_tokens // length))
        batch: list[T] = []
        while queue and len(batch) < rows:
            _, text = queue.popleft()
            if not text.cancelled:
                batch.append(text)
        return length, batch

    def _next(self) -> tuple[int, int]:
        """Return the queue whose turn it is: people's first; a batch's in between, so that it goes on."""
        by_priority: dict[int, list[tuple[int, int]]] = {}
        for key in self._queues:
            by_priority.setdefault(key[0], []).append(key)
        first, last = min(by_priority), max(by_priority)
        chosen = last if self._passed >= TURN - 1 else first
        self._passed = 0 if chosen == last else self._passed + 1
        return min(by_priority[chosen], key=lambda key: self._queues[key][0][0])

    def __len__(self) -> int:
        """How many texts wait; cancelled ones count until their turn comes."""
        return sum(map(len, self._queues.values()))
