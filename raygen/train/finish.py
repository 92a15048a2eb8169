"""Finish: the end of a training. The kept model is measured, calibrated and published, and finished.json says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from raygen.runs.sealed import seal
from raygen.train.base import Block, Evaluated, Family, Meter
from raygen.train.context import Context
from raygen.train.evaluation import measure
from raygen.train.publish import publish
from raygen.train.recipe import Recipe

FINISHED_KEY = "finished.json"  # sealed; written after the model


def finish(
    recipe: Recipe,
    family: Family,
    model: nn.Module,
    blocks: Mapping[str, Sequence[Block]],
    context: Context,
    steps: int,
    kept: int,
) -> dict[str, Any]:
    """Return what finished.json says: `steps`, `kept_step`, `temperature`, `evaluated` of each split, `model`'s key.

    Args:
        steps: that were computed; kept: of these, the one whose weights `model` has.
    """
    evaluated: dict[str, Evaluated] = {}
    temperature = None
    for split in ("validation", "test"):
        if blocks.get(split):
            meter = measure(recipe, family, model, split, len(blocks[split]), context)
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
        finished["model"] = publish(family, model, context.store, temperature)
        context.store.put(FINISHED_KEY, seal(finished))
    found: dict[str, Any] = context.ranks.agree(finished)
    return found


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
