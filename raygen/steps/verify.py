"""The verify step: a check of every sample; those that fail are rejected, with the finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from raygen.steps import load
from raygen.steps.base import Step
from raygen.steps.checks import CHECKS, Check
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story
from raygen.steps.spec import Verify

if TYPE_CHECKING:
    from raygen.steps.context import Context


class VerifyStep(Step):
    config: Verify

    def __init__(
        self, config: Verify, name: str, where: str, context: Context, before: Sequence[Step]
    ) -> None:
        super().__init__(config, name, where, context, before)
        kind = load(CHECKS[config.check])
        self._check: Check = kind(getattr(config, config.check), self)

    @classmethod
    def models(cls, config: Verify) -> Iterable[tuple[str, str, str]]:
        for key, model, verb in load(CHECKS[config.check]).models(getattr(config, config.check)):  # type: ignore[attr-defined]
            yield f"{config.check}.{key}", model, verb

    @classmethod
    def labels(cls, config: Verify) -> Iterable[tuple[str, str, str]]:
        for key, model, label in load(CHECKS[config.check]).labels(getattr(config, config.check)):  # type: ignore[attr-defined]
            yield f"{config.check}.{key}", model, label

    @classmethod
    def check(cls, config: Verify, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        load(CHECKS[config.check]).check(getattr(config, config.check), f"{where}.{config.check}", context)  # type: ignore[attr-defined]

    @classmethod
    def scores(cls, config: Verify, name: str) -> frozenset[str]:
        return frozenset({name} if load(CHECKS[config.check]).scored else ())  # type: ignore[attr-defined]

    async def run(self, story: Story, calls: Calls) -> None:
        drafts = story.accepted
        verdicts = await self._check.verdicts(story, drafts, calls)
        for draft, verdict in zip(drafts, verdicts, strict=True):
            if verdict.score is not None:
                draft.scores[self.name] = verdict.score
            model = self._check.model
            if verdict.passed:
                story.decide(
                    self.name, "passed", draft, detail=verdict.finding, model=model, scores=verdict.scores
                )
            else:
                story.reject(
                    draft,
                    self.name,
                    verdict.reason or self._check.reason,
                    verdict.finding or "",
                    verdict.scores,
                    model,
                )
