"""Part: a phase of a training at work: its weights with their gradients, their optimizer, and its learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from raygen.train.families.base import Phase
from raygen.train.families.learnable import trainable
from raygen.train.loop.gradients import make_gradients
from raygen.train.loop.optimizer import load_state, make_optimizer, rate_at, set_rate, state_tensors
from raygen.train.loop.ranks import Ranks
from raygen.train.recipe import Recipe


class Part:
    """One phase, with the recipe's settings for it.

    Args:
        prefix: begins the names of its state in a checkpoint; empty where there is one phase.
        total: steps of the whole training.
    """

    def __init__(self, recipe: Recipe, phase: Phase, prefix: str, ranks: Ranks, total: int) -> None:
        own = (recipe.phases or {}).get(phase.name)
        self._optimizer_config = (own and own.optimizer) or recipe.optimizer
        self._schedule = (own and own.schedule) or recipe.schedule
        self._prefix = prefix
        self._total = total
        self.phase = phase
        self.weights = phase.weights
        self.optimizer = make_optimizer(phase.weights, self._optimizer_config)
        self.gradients = make_gradients(list(phase.weights.values()), ranks)

    def is_due(self, done: int) -> bool:
        """Return whether the phase is taken in a step.

        Args:
            done: the steps before it.
        """
        return done % self.phase.every == 0

    def change(self, done: int, norm: float) -> float:
        """Change the weights as the gradients say; return the learning rate.

        Args:
            done: the steps before this one.
            norm: the length of the gradients.
        """
        config = self._optimizer_config
        rate = rate_at(done, self._total, self._schedule, config.learning_rate)
        if config.clip_norm is not None and norm > config.clip_norm:
            self.gradients.scale(config.clip_norm / norm)
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        return rate

    def state(self) -> dict[str, torch.Tensor]:
        """Return the optimizer's state as named tensors."""
        found = state_tensors(self.optimizer, self.weights)
        return {self._prefix + name: tensor for name, tensor in found.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` returned, out of the states of all parts."""
        own = {
            name.removeprefix(self._prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(self._prefix)
        }
        load_state(self.optimizer, self.weights, own)


def make_parts(
    recipe: Recipe, phases: Sequence[Phase], model: nn.Module, ranks: Ranks, total: int
) -> list[Part]:
    """Return a training's parts, in the order in which a step takes them.

    Raises:
        ValueError: the family's phases do not share out the model's weights, or its first is not taken in every step.
    """
    seen: dict[str, str] = {}
    for phase in phases:
        for name in phase.weights:
            if name in seen:
                raise ValueError(f"weight {name} is of two phases: {seen[name]} and {phase.name}")
            seen[name] = phase.name
    if left := sorted(trainable(model).keys() - seen.keys()):
        raise ValueError(f"no phase learns weight {left[0]}")
    if phases[0].every != 1:
        raise ValueError(f"phase {phases[0].name}: the first has to be taken in every step")
    several = len(phases) > 1
    return [Part(recipe, phase, f"{phase.name}:" if several else "", ranks, total) for phase in phases]


@contextmanager
def learning_alone(part: Part, parts: Sequence[Part]) -> Iterator[None]:
    """Keep the weights of the other parts out of the backward passes for the length of a `with`."""
    others = [weight for other in parts if other is not part for weight in other.weights.values()]
    for weight in others:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in others:
            weight.requires_grad_(True)
