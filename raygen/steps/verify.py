"""The verify step: a check of every sample; those that fail are rejected, with the finding."""

from __future__ import annotations

from raygen.config.one_of import OneOf
from raygen.steps.checks import CHECKS
from raygen.steps.inner import HoldingStep
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story


class Verify(OneOf):
    """Check every sample; those that fail are rejected, with the finding."""

    registry = CHECKS


class VerifyStep(HoldingStep):
    """Has its check look at all accepted samples of a row at once."""

    Config = Verify

    @classmethod
    def checks(cls, config: OneOf) -> bool:
        return True

    @classmethod
    def scores(cls, config: OneOf, name: str) -> frozenset[str]:
        return frozenset({name} if config.kind.scored else ())

    async def run(self, story: Story, calls: Calls) -> None:
        drafts = story.accepted
        verdicts = await self.inner.verdicts(story, drafts, calls)
        for draft, verdict in zip(drafts, verdicts, strict=True):
            if verdict.score is not None:
                draft.scores[self.name] = verdict.score
            model = self.inner.model
            if verdict.passed:
                story.decide(
                    self.name, "passed", draft, detail=verdict.finding, model=model, scores=verdict.scores
                )
            else:
                story.reject(
                    draft,
                    self.name,
                    verdict.reason or self.inner.reason,
                    verdict.finding or "",
                    verdict.scores,
                    model,
                )
