"""Evaluation: what a model makes of a split, computed by all workers; and which step had the best of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from raygen.train.families.base import Meter, Trainer
from raygen.train.loop.context import Context
from raygen.train.loop.optimizer_step import out_of_memory, precision
from raygen.train.recipe import Recipe


def measure(
    recipe: Recipe,
    trainer: Trainer,
    model: nn.Module,
    split: str,
    blocks: int,
    context: Context,
) -> Meter:
    """Return a meter that has seen a whole split, on every worker.

    Args:
        blocks: how many the split has; worker r of W computes r, r + W, ...
    """
    meter = trainer.new_meter()
    ranks, was_training = context.ranks, model.training
    model.eval()
    with torch.no_grad(), context.blocks(split, range(ranks.rank, blocks, ranks.world)) as stream:
        for block in stream:
            with out_of_memory(recipe, trainer.units, block), precision(recipe, context.device):
                meter.add(model, block, context.device)
    model.train(was_training)
    whole = trainer.new_meter()
    for state in ranks.gather(meter.state()):
        whole.merge(state)
    return whole


@dataclass(slots=True)
class Best:
    """The best evaluation so far, and how many have not been better since."""

    step: int | None = None
    value: float | None = None
    since: int = 0

    def see(self, step: int, value: float, *, higher: bool) -> bool:
        """Take an evaluation; is it the best?"""
        better = not math.isnan(value) and (
            self.value is None or (value > self.value if higher else value < self.value)
        )
        if better:
            self.step, self.value, self.since = step, value, 0
        else:
            self.since += 1
        return better

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
