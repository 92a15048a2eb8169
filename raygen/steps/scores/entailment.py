"""Entailment: the probability that a premise entails the sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from raygen.steps.base import Step
from raygen.steps.checks.entailment import Entailment, EntailmentCheck
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.scores import Scorer


class EntailmentScorer(Scorer):
    Config = Annotated[Entailment, Field(description="the probability; its threshold is not used")]

    def __init__(self, config: Entailment, step: Step) -> None:
        super().__init__(config, step)
        self.model = config.model
        self._check = EntailmentCheck(config, step)

    @classmethod
    def models(cls, config: Entailment) -> Iterable[tuple[str, str, str]]:
        return EntailmentCheck.models(config)

    @classmethod
    def labels(cls, config: Entailment) -> Iterable[tuple[str, str, str]]:
        return EntailmentCheck.labels(config)

    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        return [chances[label] for label, chances in await self._check.judged(story, drafts, calls)]
