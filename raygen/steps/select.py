"""The select step: keep some of the accepted samples."""

from __future__ import annotations

from collections import Counter

from raygen.config import Job
from raygen.step_config import Select
from raygen.steps.base import Step
from raygen.steps.calls import Calls
from raygen.steps.checks.equals import number_in
from raygen.steps.story import Draft, Story


class SelectStep(Step):
    config: Select

    @classmethod
    def check(cls, config: Select, where: str, job: Job, number: int, scores: frozenset[str]) -> None:
        if config.best is not None and config.best not in scores:
            raise ValueError(
                f"{where}.best: no step before it gives a score {config.best!r}; scores: {', '.join(sorted(scores)) or 'none'}"
            )

    async def run(self, story: Story, calls: Calls) -> None:
        accepted = story.accepted
        kept, why = self._choose(accepted)
        for draft in kept:
            story.decide(self.name, "selected", draft, detail=why)
        for draft in accepted:
            if draft not in kept:
                story.decide(self.name, "dropped", draft)
        story.discard([draft for draft in story.drafts if draft not in kept] if kept else [])

    def _choose(self, drafts: list[Draft]) -> tuple[list[Draft], str | None]:
        config = self.config
        if not drafts:
            return [], None
        if config.first is not None:
            return drafts[: config.first], None
        if config.best is not None:
            best = max(
                drafts, key=lambda draft: (draft.scores.get(config.best or "", float("-inf")), -draft.number)
            )
            return [best], f"{config.best} {best.scores.get(config.best, float('nan')):.4g}"
        votes = Counter(_vote(draft) for draft in drafts)
        # Equal votes go to the answer that came first.
        winner = max(votes, key=lambda vote: votes[vote])
        return [
            next(draft for draft in drafts if _vote(draft) == winner)
        ], f"{votes[winner]} of {len(drafts)} agree"


def _vote(draft: Draft) -> str:
    """Two answers are one if they are the same number, or the same words."""
    answer = draft.answer if draft.answer is not None else draft.text
    words = " ".join(answer.split()).casefold()
    number = number_in(answer) if len(words.split()) == 1 else None
    return words if number is None else f"{number.normalize():f}"
