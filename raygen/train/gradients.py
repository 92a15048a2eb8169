"""Gradients: all of a model's in one flat tensor, so that workers sum them in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

EXTRAS = 2  # numbers that travel with the gradients: the loss, and whether a worker wants to stop


class FlatGradients:
    """The gradients of some weights, each a view into one float32 tensor; backward passes add to it."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        sizes = [weight.numel() for weight in weights]
        self._all = torch.zeros(sum(sizes) + EXTRAS, dtype=torch.float32, device=weights[0].device)
        self.flat = self._all[:-EXTRAS]
        for weight, part in zip(weights, self.flat.split(sizes), strict=True):
            weight.grad = part.view_as(weight)

    @property
    def travelling(self) -> torch.Tensor:
        """What workers sum: the gradients, and the extras behind them."""
        return self._all

    @property
    def extras(self) -> torch.Tensor:
        return self._all[-EXTRAS:]

    def clear(self) -> None:
        self._all.zero_()

    def scale(self, factor: float) -> None:
        self.flat.mul_(factor)

    def norm(self) -> float:
        """Return the length of all gradients together."""
        return float(self.flat.norm())
