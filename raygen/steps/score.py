"""The score step: a number for every accepted sample, by the step's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from raygen.steps import load
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story
from raygen.steps.scores import METRICS, Metric
from raygen.steps.spec import Score

if TYPE_CHECKING:
    from raygen.steps.context import Context


class ScoreStep(Step):
    config: Score

    def __init__(
        self, config: Score, name: str, where: str, context: Context, before: Sequence[Step]
    ) -> None:
        super().__init__(config, name, where, context, before)
        self._metric: Metric = load(METRICS[config.metric])(getattr(config, config.metric), self)

    @classmethod
    def models(cls, config: Score) -> Iterable[tuple[str, str, str]]:
        for key, model, verb in load(METRICS[config.metric]).models(getattr(config, config.metric)):  # type: ignore[attr-defined]
            yield f"{config.metric}.{key}", model, verb

    @classmethod
    def labels(cls, config: Score) -> Iterable[tuple[str, str, str]]:
        for key, model, label in load(METRICS[config.metric]).labels(getattr(config, config.metric)):  # type: ignore[attr-defined]
            yield f"{config.metric}.{key}", model, label

    @classmethod
    def check(cls, config: Score, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        load(METRICS[config.metric]).check(  # type: ignore[attr-defined]
            getattr(config, config.metric), f"{where}.{config.metric}", context
        )

    @classmethod
    def scores(cls, config: Score, name: str) -> frozenset[str]:
        return frozenset({name})

    async def run(self, story: Story, calls: Calls) -> None:
        drafts = story.accepted
        for draft, score in zip(drafts, await self._metric.scores(story, drafts, calls), strict=True):
            draft.scores[self.name] = score
            story.decide(self.name, "scored", draft, model=self._metric.model, scores={self.name: score})
