"""Stepper: one optimizer step. Losses and gradients of some blocks, summed over the workers, and the change of the weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import nn

from raygen.errors import TrainingError
from raygen.train.families.base import Trainer
from raygen.train.families.learnable import trainable
from raygen.train.families.units import Units
from raygen.train.loop.gradients import make_gradients
from raygen.train.loop.optimizer import make_optimizer, set_rate
from raygen.train.loop.ranks import Ranks
from raygen.train.recipe import Recipe

MOST_ROWS = 20  # row ids that a message lists


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step came to; the same on every worker."""

    loss: float  # mean over the step's weight, of all workers
    grad_norm: float  # of the mean's gradients, before they are clipped
    stopping: bool  # does a worker want to stop?


def micro_seed(seed: int, epoch: int, step: int, number: int) -> int:
    """Return the seed of a micro-batch's dropout: the same for any number of workers, and after resuming."""
    text = f"{seed}/{epoch}/{step}/{number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class Stepper:
    """Changes a model step by step.

    A step's gradients are those of its loss's mean over all its weight, so what a step does is the same, up to rounding,
    for any number of workers and micro-batches.
    """

    def __init__(
        self, recipe: Recipe, trainer: Trainer, model: nn.Module, ranks: Ranks, device: torch.device
    ) -> None:
        self._recipe = recipe
        self._trainer = trainer
        self._model = model
        self._ranks = ranks
        self._device = device
        self.weights = trainable(model)
        self.optimizer = make_optimizer(self.weights, recipe.optimizer)
        self._gradients = make_gradients(list(self.weights.values()), ranks)

    def step(
        self,
        place: tuple[int, int],
        blocks: Iterator[pa.Table],
        numbers: Sequence[int],
        weight: int,
        rate: float,
        stopping: bool = False,
    ) -> Stepped:
        """Compute this worker's blocks of a step, and change the weights as all of them say.

        Args:
            place: epoch, and step within it.
            blocks: where this worker's blocks come from, one for each of `numbers`.
            numbers: their places among all the step's blocks.
            weight: of all the step's blocks, of all workers.
            rate: the learning rate.

        Raises:
            TrainingError: the loss or a gradient is not finite (no weight was changed), or memory ran out.
        """
        gradients = self._gradients
        gradients.clear()
        losses: list[tuple[torch.Tensor, list[str]]] = []
        for number in numbers:
            block = next(blocks)
            torch.manual_seed(micro_seed(self._recipe.seed, *place, number))
            loss = self._backward(block, place, weight)
            losses.append((loss, [row for rows in block.column("row_ids").to_pylist() for row in rows]))
        total = torch.stack([loss for loss, _ in losses]).sum() if losses else torch.zeros(())
        loss_sum, stops = gradients.sum(float(total), stopping)
        norm = gradients.norm()
        if not math.isfinite(loss_sum) or not math.isfinite(norm):
            self._refuse(place, losses)
        clip = self._recipe.optimizer.clip_norm
        if clip is not None and norm > clip:
            gradients.scale(clip / norm)
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        return Stepped(loss_sum / weight, norm, stops)

    def _backward(self, block: pa.Table, place: tuple[int, int], weight: int) -> torch.Tensor:
        """Add a block's part of the mean's gradients; return its loss, summed over its weight."""
        with out_of_memory(self._recipe, self._trainer.units, block, place):
            with precision(self._recipe, self._device):
                loss = self._trainer.loss(self._model, self._trainer.collate(block, self._device))
            (loss / weight).backward()
        return loss.detach().float()

    def _refuse(self, place: tuple[int, int], losses: Sequence[tuple[torch.Tensor, list[str]]]) -> None:
        """Name the rows of blocks whose loss is not finite, of all workers; if there are none, those of the whole step."""
        bad = [row for loss, rows in losses if not math.isfinite(float(loss)) for row in rows]
        gathered = self._ranks.gather((bad, [row for _, rows in losses for row in rows]))
        found = [row for rows, _ in gathered for row in rows]
        what = "loss" if found else "gradient"
        found = found or [row for _, rows in gathered for row in rows]
        more = f" and {len(found) - MOST_ROWS} more" if len(found) > MOST_ROWS else ""
        raise TrainingError(
            f"the {what} is not finite at epoch {place[0]}, step {place[1]}; rows of the batch: "
            f"{', '.join(found[:MOST_ROWS])}{more}. The last checkpoint is kept: look at these rows, lower "
            "optimizer.learning_rate, or set precision: float32"
        )


def precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Return the context in which a recipe's models compute."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16")


@contextmanager
def out_of_memory(
    recipe: Recipe, units: Units, block: pa.Table, place: tuple[int, int] | None = None
) -> Iterator[None]:
    """Say which setting to change when memory runs out. Raises TrainingError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # On a CPU torch has no class for it: only its allocator's own words tell.
        told = str(error).lower()
        if type(error) is RuntimeError and not ("allocate memory" in told or "out of memory" in told):
            raise
        where = f"at epoch {place[0]}, step {place[1]}" if place else "in an evaluation"
        raise TrainingError(
            f"out of memory {where}, with {units.describe(block)} at once: lower "
            f"{recipe.batch.remedy()}, or "
            "learn less with trained.lora"
        ) from error
