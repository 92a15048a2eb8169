"""Sweep file: which settings of a recipe are varied, how they are drawn, and how weak trials are stopped."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from raygen.config.base import Frozen
from raygen.config.files import override, read_config, validate
from raygen.errors import ConfigError
from raygen.train.recipe import Recipe

FIXED = ("name", "output")


class Parameter(Frozen):
    """What a setting may be: one of `choice`, or a number between two, evenly (`uniform`) or by its order (`log_uniform`)."""

    choice: tuple[Any, ...] | None = Field(None, min_length=1)
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Parameter:
        if sum(each is not None for each in (self.choice, self.uniform, self.log_uniform)) != 1:
            raise ValueError("give exactly one of `choice`, `uniform`, `log_uniform`")
        for bounds in (self.uniform, self.log_uniform):
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError("bounds are [low, high] with low < high")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("log_uniform needs bounds above 0")
        return self

    def draw(self, source: random.Random) -> Any:
        if self.choice is not None:
            return source.choice(self.choice)
        if self.uniform is not None:
            return source.uniform(*self.uniform)
        low, high = self.log_uniform or (1.0, 1.0)
        return math.exp(source.uniform(math.log(low), math.log(high)))

    def extremes(self) -> tuple[Any, ...]:
        """Every value of a choice, or the bounds: if a recipe takes these, it takes all."""
        return self.choice or self.uniform or self.log_uniform or ()


class Asha(Frozen):
    """Stop the weaker trials early: at grace_steps, then each time that steps have grown by `reduction`, all but 1/reduction."""

    grace_steps: int = Field(1, ge=1)
    reduction: float = Field(3.0, gt=1)


class Sweep(Frozen):
    """Which settings are varied, how many trials there are, and what is best."""

    parameters: dict[str, Parameter] = Field(
        min_length=1, description="by path, such as optimizer.learning_rate"
    )
    metric: str | None = Field(
        None, description="of the validation split; the recipe's evaluation.metric if unset"
    )
    mode: Literal["min", "max"] | None = Field(
        None, description="what is better; known for the family's own metrics"
    )
    trials: int = Field(8, ge=1, le=10_000)
    concurrent: int = Field(1, ge=1, le=1000)
    asha: Asha | None = Asha()
    seed: int = Field(0, ge=0, description="of the draw")


def load_sweep(path: Path, recipe: Recipe) -> Sweep:
    """Read a sweep file and try what it may draw on the recipe. Raises ConfigError, naming parameter and value."""
    sweep = read_config(path, Sweep)
    for name, parameter in sweep.parameters.items():
        if name.split(".")[0] in FIXED:
            raise ConfigError(f"{path}: parameters.{name}: {', '.join(FIXED)} cannot be varied")
        for value in parameter.extremes():
            varied(recipe, {name: value}, f"{path}: parameters.{name} = {value!r}")
    return sweep


def varied(recipe: Recipe, settings: dict[str, Any], where: str) -> Recipe:
    """Return the recipe with other settings. Raises ConfigError."""
    sets = [
        f"{name}={yaml.safe_dump(value, default_flow_style=True).strip()}" for name, value in settings.items()
    ]
    plain = override(recipe.model_dump(mode="json"), [each.removesuffix("\n...") for each in sets])
    return validate(plain, Recipe, where)


def draw(sweep: Sweep) -> list[dict[str, Any]]:
    """Return every trial's settings; alike for the same sweep, and for its first trials if it gets more."""
    return [
        {
            name: parameter.draw(random.Random(f"{sweep.seed}/{number}/{name}"))
            for name, parameter in sweep.parameters.items()
        }
        for number in range(sweep.trials)
    ]
