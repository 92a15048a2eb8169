"""A score of another package: exclamation marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from raygen import Calls, Draft, Scorer, Story


class LoudnessScorer(Scorer):
    """How many exclamation marks a sample has."""

    Config = Literal["marks"]

    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        return [float(draft.text.count("!")) for draft in drafts]
