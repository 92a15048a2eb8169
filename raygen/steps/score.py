"""The score step: a number for every accepted sample, by the step's name."""

from __future__ import annotations

from raygen.config.one_of import OneOf
from raygen.steps.inner import HoldingStep
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story
from raygen.steps.scores import SCORES


class Score(OneOf):
    """Give every accepted sample a number, by name."""

    registry = SCORES


class ScoreStep(HoldingStep):
    """Has its scorer look at all accepted samples of a row at once."""

    Config = Score

    @classmethod
    def scores(cls, config: OneOf, name: str) -> frozenset[str]:
        return frozenset({name})

    async def run(self, story: Story, calls: Calls) -> None:
        drafts = story.accepted
        for draft, score in zip(drafts, await self.inner.scores(story, drafts, calls), strict=True):
            draft.scores[self.name] = score
            story.decide(self.name, "scored", draft, model=self.inner.model, scores={self.name: score})
