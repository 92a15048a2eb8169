"""Finish: the end of a training. The kept model is measured, calibrated and published, and finished.json says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from torch import nn

from raygen.storage.sealed import seal
from raygen.train.families.base import Block, Evaluated, Meter, Trainer
from raygen.train.loop.context import Context
from raygen.train.loop.evaluation import measure
from raygen.train.loop.publish import publish
from raygen.train.loop.records import FINISHED_KEY
from raygen.train.recipe import Recipe


def finish(
    recipe: Recipe,
    trainer: Trainer,
    model: nn.Module,
    blocks: Mapping[str, Sequence[Block]],
    context: Context,
    steps: int,
    kept: int,
) -> dict[str, Any]:
    """Return what finished.json says: `steps`, `kept_step`, `temperature`, `evaluated` of each split, `baselines`, `model`'s key.

    Args:
        steps: that were computed; kept: of these, the one whose weights `model` has.
    """
    evaluated: dict[str, Evaluated] = {}
    temperature = None
    for split in ("validation", "test"):
        if blocks.get(split):
            meter = measure(recipe, trainer, model, split, len(blocks[split]), context)
            if split == "validation" and recipe.evaluation.calibrate:
                temperature = meter.temperature()
            evaluated[split] = _result(meter, temperature)
    finished: dict[str, Any] = {
        "steps": steps,
        "kept_step": kept,
        "temperature": temperature,
        "evaluated": {
            split: {"metrics": found.metrics, "details": found.details, "worst": found.worst}
            for split, found in evaluated.items()
        },
    }
    if context.ranks.first:
        finished["baselines"] = _baselines(trainer, blocks, context)
        finished["model"] = publish(trainer, model, context.store, temperature)
        context.store.put(FINISHED_KEY, seal(finished))
    found: dict[str, Any] = context.ranks.agree(finished)
    return found


def _baselines(
    trainer: Trainer, blocks: Mapping[str, Sequence[Block]], context: Context
) -> dict[str, dict[str, Any]]:
    """Measure baselines on the split that says most."""
    split = next((split for split in ("test", "validation") if blocks.get(split)), None)
    if split is None:
        return {}

    def read(part: str, numbers: list[int]) -> Iterator[pa.Table]:
        with context.blocks(part, numbers) as stream:
            yield from stream

    return trainer.baselines(blocks, split, read)


def _result(meter: Meter, temperature: float | None) -> Evaluated:
    """Say what is found of the model as it is saved; of a calibrated one also how it was before."""
    found = meter.result(temperature)
    if temperature is not None:
        before = meter.result()
        found.details["temperature"] = temperature
        found.details["uncalibrated"] = {
            "ece": before.metrics["ece"],
            "loss": before.metrics["loss"],
            "calibration": before.details["calibration"],
        }
    return found
