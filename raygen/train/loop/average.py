"""Average: a moving average of the weights, evaluated and saved in their place. Smoother than any single step's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from raygen.train.recipe import Ema


class Average:
    """The exponential moving average of some weights.

    Every worker has the same weights after a step, so every worker has the same average: nothing is exchanged for it.

    Args:
        weights: by name, as they are at the start.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], config: Ema) -> None:
        self._weights = weights
        self._config = config
        self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step.

        Args:
            step: its number, from 1.
        """
        share = 1 - decay_at(step, self._config)
        for name, weight in self._weights.items():
            self.tensors[name].lerp_(weight.detach(), share)

    def swap(self) -> None:
        """Let the model have the average, and keep its weights here; another call undoes it. Copies nothing."""
        for name, weight in self._weights.items():
            weight.data, self.tensors[name] = self.tensors[name], weight.data

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average for the length of a `with`."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what a checkpoint holds."""
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)


def decay_at(step: int, config: Ema) -> float:
    """Return which share of the average is kept in a step: little at first, `decay` in the end.

    Args:
        step: from 1.

    Source:
        The formula of TensorFlow's ExponentialMovingAverage with `num_updates`, where the warm-up is 10.

    Example:
        >>> [round(decay_at(step, Ema(decay=0.9, warmup=10)), 3) for step in (1, 10, 100)]
        [0.182, 0.55, 0.9]
    """
    return min(config.decay, (1 + step) / (config.warmup + step)) if config.warmup else config.decay
