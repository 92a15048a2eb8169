"""Ranks: the workers of a training, numbered, and what they tell each other. One worker alone needs no network."""

from __future__ import annotations

from typing import Any

import torch


class Ranks:
    """A worker's number among all, and their exchange; over torch.distributed's default group if there are several.

    Every worker has to make the same calls in the same order.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank = rank
        self.world = world

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> None:
        """Add up a tensor over all workers, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)

    def gather(self, value: Any) -> list[Any]:
        """Return every worker's value, in the order of the workers; plain Python and numpy values."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, value)
        return found

    def agree(self, value: Any) -> Any:
        """Return the first worker's value."""
        return self.gather(value if self.first else None)[0]
