"""Gradients: what a step's backward passes leave. One worker's stay where they are; several workers' are summed in one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from raygen.train.loop.ranks import Ranks

EXTRAS = 2  # numbers that travel with the gradients: the loss, and whether a worker wants to stop


def make_gradients(weights: Sequence[nn.Parameter], ranks: Ranks) -> Gradients:
    """Return what sums gradients: of one worker alone, or over all."""
    return OwnGradients(weights) if ranks.world == 1 else FlatGradients(weights, ranks)


class Gradients(ABC):
    """The gradients of some weights: backward passes add to them, the optimizer reads them."""

    @abstractmethod
    def clear(self) -> None:
        """Forget those of the step before."""

    @abstractmethod
    def sum(self, loss: float, stopping: bool) -> tuple[float, bool]:
        """Add up all workers' gradients, and losses; also say whether one of them wants to stop."""

    @abstractmethod
    def norm(self) -> float:
        """Return the length of all gradients together."""

    @abstractmethod
    def scale(self, factor: float) -> None: ...


class OwnGradients(Gradients):
    """One worker's. The first backward pass hands its tensors over: nothing is cleared, and nothing is added to zeros."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._weights = weights

    def clear(self) -> None:
        for weight in self._weights:
            weight.grad = None

    def sum(self, loss: float, stopping: bool) -> tuple[float, bool]:
        for weight in self._weights:
            if weight.grad is None:  # no example used it: it decays as it does for several workers
                weight.grad = torch.zeros_like(weight)
        return loss, stopping

    def norm(self) -> float:
        return float(nn.utils.get_total_norm(self._all()))

    def scale(self, factor: float) -> None:
        for gradient in self._all():
            gradient.mul_(factor)

    def _all(self) -> list[torch.Tensor]:
        return [weight.grad for weight in self._weights if weight.grad is not None]


class FlatGradients(Gradients):
    """One of several workers': each a view into one float32 tensor."""

    def __init__(self, weights: Sequence[nn.Parameter], ranks: Ranks) -> None:
        sizes = [weight.numel() for weight in weights]
        self._ranks = ranks
        self._all = torch.zeros(sum(sizes) + EXTRAS, dtype=torch.float32, device=weights[0].device)
        self._flat, self._extras = self._all[:-EXTRAS], self._all[-EXTRAS:]
        for weight, part in zip(weights, self._flat.split(sizes), strict=True):
            weight.grad = part.view_as(weight)

    def clear(self) -> None:
        self._all.zero_()

    def sum(self, loss: float, stopping: bool) -> tuple[float, bool]:
        self._extras.copy_(torch.tensor([loss, float(stopping)]))
        self._ranks.sum(self._all)
        found, stops = self._extras.tolist()
        return found, stops > 0

    def norm(self) -> float:
        return float(self._flat.norm())

    def scale(self, factor: float) -> None:
        self._flat.mul_(factor)
