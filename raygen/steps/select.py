"""The select step: keep some of the accepted samples."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from raygen.config.base import Frozen, exactly_one
from raygen.steps.base import Step
from raygen.steps.checks.equals import number_in
from raygen.steps.context import Context
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.tools.farthest import farthest_first, farthest_texts, unit_rows


class Diverse(Frozen):
    """The first sample, then each time the one that is farthest from all that were chosen."""

    count: int = Field(ge=1, le=1024, description="how many samples are kept")
    model: str | None = Field(
        None, description="an embedder: far in meaning; unset: few character 4-grams in common"
    )


class Select(Frozen):
    """Keep some of the accepted samples."""

    first: int | None = Field(None, ge=1, description="how many are kept, the first in order")
    best: str | None = Field(None, description="the one with the highest score of this name")
    majority: Literal[True] | None = Field(
        None, description="the first sample with the commonest answer (self-consistency)"
    )
    diverse: Diverse | None = Field(None, description="a few that are far from each other")

    @model_validator(mode="after")
    def _one(self) -> Select:
        exactly_one(self, *type(self).model_fields)
        return self


class SelectStep(Step):
    """Puts aside the accepted samples that are not chosen, without a fault."""

    Config = Select

    config: Select

    @property
    def judges(self) -> bool:
        return any(True for _ in self.models(self.config))

    @classmethod
    def takes_media(cls, config: Select) -> bool:
        return config.first is not None or config.best is not None

    @classmethod
    def models(cls, config: Select) -> Iterable[tuple[str, str, str]]:
        if config.diverse is not None and config.diverse.model is not None:
            yield "diverse.model", config.diverse.model, "embed"

    @classmethod
    def check(cls, config: Select, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        if config.best is not None and config.best not in scores:
            raise ValueError(
                f"{where}.best: no step before it gives a score {config.best!r}; scores: {', '.join(sorted(scores)) or 'none'}"
            )

    async def run(self, story: Story, calls: Calls) -> None:
        accepted = story.accepted
        if self.config.diverse is not None:
            chosen = await self._diverse(self.config.diverse, accepted, story.row_id, calls)
            kept = [draft for draft, _ in chosen]
        else:
            kept, why = self._choose(accepted)
            chosen = [(draft, why) for draft in kept]
        for draft, reason in chosen:
            story.decide(self.name, "selected", draft, detail=reason)
        for draft in accepted:
            if draft not in kept:
                story.decide(self.name, "dropped", draft)
        story.discard([draft for draft in story.drafts if draft not in kept] if kept else [])

    async def _diverse(
        self, config: Diverse, drafts: list[Draft], row_id: str, calls: Calls
    ) -> list[tuple[Draft, str | None]]:
        """Return the chosen samples in the order of choice, each with its distance from those before."""
        texts = [draft.text for draft in drafts]
        if config.model is not None:
            unit_ND = unit_rows(await calls.embed(config.model, row_id, texts))
            found = farthest_first(len(texts), config.count, lambda n: (1 - unit_ND @ unit_ND[n]).tolist())
        else:
            found = await asyncio.to_thread(farthest_texts, texts, config.count)
        return [
            (
                drafts[number],
                "the first" if distance is None else f"distance {distance:.3g} from those before",
            )
            for number, distance in found
        ]

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
    if number is None:
        return words
    # Neither rounded nor written out: `1e999999` would be a million zeros.
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    return f"{'-' if number < 0 else ''}{digits}e{number.adjusted()}" if digits else "0"
