"""Entailment: the probability that a premise entails the sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from raygen.steps.checks.entailment import AsksEntailment, Entailment
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.scores import Scorer


class EntailmentScorer(AsksEntailment, Scorer):
    """Gives the probability of the label."""

    Config = Annotated[Entailment, Field(description="the probability; its threshold is not used")]

    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        return [chances[label] for label, chances in await self.judged(story, drafts, calls)]
