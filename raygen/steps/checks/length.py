"""Length: is the sample neither too short nor too long?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from raygen.config.base import Frozen, in_order
from raygen.data.text.sentences import sentences_of
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story

Unit = Literal["words", "characters", "sentences"]


class Length(Frozen):
    """Bounds of a sample's length."""

    unit: Unit = Field("words", description="what is counted")
    at_least: int = Field(0, ge=0, description="the fewest that pass")
    at_most: int | None = Field(None, ge=0, description="the most that pass")

    @model_validator(mode="after")
    def _ordered(self) -> Length:
        in_order(self.at_least, self.at_most)
        return self


def length_of(text: str, unit: str) -> int:
    """Count words (between white space), characters, or sentences of a text."""
    if unit == "words":
        return len(text.split())
    return len(text) if unit == "characters" else len(sentences_of(text))


class LengthCheck(Check):
    """Rejects samples that are too short or too long; the score is the length."""

    reason = "length"

    Config = Length

    config: Length

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        return [self._verdict(draft.text) for draft in drafts]

    def _verdict(self, text: str) -> Verdict:
        unit, low, high = self.config.unit, self.config.at_least, self.config.at_most
        length = length_of(text, unit)
        if length < low:
            return Verdict(False, f"it has {length} {unit}; at least {low} are wanted", float(length))
        if high is not None and length > high:
            return Verdict(False, f"it has {length} {unit}; at most {high} are wanted", float(length))
        return Verdict(True, score=float(length))
