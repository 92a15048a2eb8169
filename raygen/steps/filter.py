"""The filter step: reject samples whose score is out of bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from raygen.config.base import Frozen, in_order
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story

if TYPE_CHECKING:
    from raygen.steps.context import Context


class Filter(Frozen):
    """Reject samples whose score is out of bounds."""

    score: str = Field(description="the name of a score that the samples have")
    at_least: float | None = Field(None, description="the lowest score that passes")
    at_most: float | None = Field(None, description="the highest score that passes")

    @model_validator(mode="after")
    def _bounded(self) -> Filter:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most, or both")
        in_order(self.at_least, self.at_most)
        return self


class FilterStep(Step):
    """Looks at a score that a step before it gave."""

    Config = Filter

    config: Filter

    @classmethod
    def takes_media(cls, config: Filter) -> bool:
        return True

    @classmethod
    def check(cls, config: Filter, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        if config.score not in scores:
            raise ValueError(
                f"{where}.score: no step before it gives a score {config.score!r}; scores: {', '.join(sorted(scores)) or 'none'}"
            )

    async def run(self, story: Story, calls: Calls) -> None:
        name, low, high = self.config.score, self.config.at_least, self.config.at_most
        for draft in story.accepted:
            score = draft.scores[name]
            if low is not None and not score >= low:
                story.reject(
                    draft, self.name, "filtered", f"{name} is {score:.4g}; at least {low:g} is wanted"
                )
            elif high is not None and not score <= high:
                story.reject(
                    draft, self.name, "filtered", f"{name} is {score:.4g}; at most {high:g} is wanted"
                )
            else:
                story.decide(self.name, "passed", draft, scores={name: score})
