"""Context: where a training runs. Nothing in it changes what comes out, up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch

from raygen.storage import Store
from raygen.train.loop.ranks import Ranks

# Yields blocks of a split by their numbers, in this order: a generator, closed before its end if need be.
Feed = Callable[[str, Sequence[int]], Iterator[pa.Table]]


def _unheard(record: dict[str, Any]) -> None:
    pass


@dataclass(slots=True)
class Context:
    """One worker's surroundings."""

    store: Store  # of the run directory
    feed: Feed
    ranks: Ranks = field(default_factory=Ranks)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    board: Callable[[dict[str, Any]], None] = _unheard  # takes a record of every step and every evaluation
    stopping: Callable[[], bool] = lambda: False  # asked at every step; one worker's word is enough
    before_saving: Callable[[int], None] = lambda step: None  # told the step, by the first worker

    @contextmanager
    def blocks(self, split: str, numbers: Sequence[int]) -> Iterator[Iterator[pa.Table]]:
        """Give out blocks of a split; their feed ends with the `with`, also before its last block."""
        stream = self.feed(split, numbers)
        try:
            yield stream
        finally:
            close = getattr(stream, "close", None)  # a generator's
            if close is not None:
                close()

    def say(self, record: dict[str, Any]) -> None:
        """Post a record; only the first worker's are posted."""
        if self.ranks.first:
            self.board(record)
