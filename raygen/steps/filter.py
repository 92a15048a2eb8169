"""The filter step: reject samples whose score is out of bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story
from raygen.steps.spec import Filter

if TYPE_CHECKING:
    from raygen.steps.context import Context


class FilterStep(Step):
    config: Filter

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
