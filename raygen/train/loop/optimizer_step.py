"""Stepper: one optimizer step. Losses and gradients of some blocks, summed over the workers, and the change of the weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import nn

from raygen.errors import TrainingError
from raygen.train.families.base import Phase, Trainer
from raygen.train.families.units import Units
from raygen.train.loop.part import Part, learning_alone, make_parts
from raygen.train.loop.ranks import Ranks
from raygen.train.recipe import Recipe

MOST_ROWS = 20  # row ids that a message lists


@dataclass(frozen=True, slots=True)
class Taken:
    """What a phase came to in a step; the same on every worker."""

    # Mean over the step's weight, of all workers.
    loss: float
    # Of the mean's gradients, before they are clipped.
    grad_norm: float
    learning_rate: float

    def record(self) -> dict[str, float]:
        """Return it as the metrics log holds it."""
        return {"loss": self.loss, "learning_rate": self.learning_rate, "grad_norm": self.grad_norm}


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step came to; the same on every worker."""

    # By their names, in their order; those that were due.
    phases: dict[str, Taken]
    # Whether a worker wants to stop.
    stopping: bool

    @property
    def main(self) -> Taken:
        """The first phase, which every step takes."""
        return next(iter(self.phases.values()))


def micro_seed(seed: int, epoch: int, step: int, number: int, phase: str = "") -> int:
    """Return the seed of a micro-batch's chance: the same for any number of workers, and after resuming.

    Args:
        phase: the name of a phase that is not the first.
    """
    text = f"{seed}/{epoch}/{step}/{number}{f'/{phase}' if phase else ''}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class Stepper:
    """Changes a model step by step, phase by phase.

    A step's gradients are those of its loss's mean over all its weight, so what a step does is the same, up to rounding,
    for any number of workers and micro-batches.

    Args:
        total: steps of the whole training.
    """

    def __init__(
        self,
        recipe: Recipe,
        trainer: Trainer,
        model: nn.Module,
        ranks: Ranks,
        device: torch.device,
        total: int,
    ) -> None:
        self._recipe = recipe
        self._trainer = trainer
        self._model = model
        self._ranks = ranks
        self._device = device
        self._parts = make_parts(recipe, trainer.phases(model), model, ranks, total)
        self.weights = {name: weight for part in self._parts for name, weight in part.weights.items()}

    def step(
        self,
        place: tuple[int, int],
        done: int,
        blocks: Iterator[pa.Table],
        numbers: Sequence[int],
        weight: int,
        stopping: bool = False,
    ) -> Stepped:
        """Compute this worker's blocks of a step, and change the weights as all workers say.

        Args:
            place: epoch, and step within it.
            done: the training's steps before this one.
            blocks: where this worker's blocks come from, one for each of `numbers`.
            numbers: their places among all the step's blocks.
            weight: of all the step's blocks, of all workers.

        Raises:
            TrainingError: a loss or a gradient is not finite (its phase changed no weight), or memory ran out.
        """
        due = [part for part in self._parts if part.is_due(done)]
        held: list[pa.Table] = []
        came = _kept(blocks, held) if len(due) > 1 else blocks
        phases = {}
        for part in due:
            with learning_alone(part, self._parts):
                taken, stops = self._take(part, place, done, came, numbers, weight, stopping)
            phases[part.phase.name] = taken
            stopping |= stops
            came = iter(held)
        return Stepped(phases, stopping)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state of all optimizers, as named tensors."""
        return {name: tensor for part in self._parts for name, tensor in part.state().items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state` returned."""
        for part in self._parts:
            part.load(tensors)

    def _take(
        self,
        part: Part,
        place: tuple[int, int],
        done: int,
        blocks: Iterator[pa.Table],
        numbers: Sequence[int],
        weight: int,
        stopping: bool,
    ) -> tuple[Taken, bool]:
        gradients = part.gradients
        gradients.clear()
        phase = "" if part is self._parts[0] else part.phase.name
        losses: list[tuple[torch.Tensor, list[str]]] = []
        for number in numbers:
            block = next(blocks)
            torch.manual_seed(micro_seed(self._recipe.seed, *place, number, phase))
            loss = self._backward(part.phase, block, place, weight)
            losses.append((loss, [row for rows in block.column("row_ids").to_pylist() for row in rows]))
        total = torch.stack([loss for loss, _ in losses]).sum() if losses else torch.zeros(())
        loss_sum, stops = gradients.sum(float(total), stopping)
        norm = gradients.norm()
        if not math.isfinite(loss_sum) or not math.isfinite(norm):
            self._refuse(place, losses)
        return Taken(loss_sum / weight, norm, part.change(done, norm)), stops

    def _backward(self, phase: Phase, block: pa.Table, place: tuple[int, int], weight: int) -> torch.Tensor:
        """Add a block's part of the mean's gradients; return its loss, summed over its weight."""
        with out_of_memory(self._recipe, self._trainer.units, block, place):
            with precision(self._recipe, self._device):
                loss = phase.loss(self._model, self._trainer.collate(block, self._device))
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


def _kept(blocks: Iterator[pa.Table], held: list[pa.Table]) -> Iterator[pa.Table]:
    """Yield blocks as they come, and hold them for the phases that follow."""
    for block in blocks:
        held.append(block)
        yield block


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
