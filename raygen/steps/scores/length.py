"""Length: in words, characters or sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from raygen.steps.checks.length import Unit, length_of
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.scores import Scorer


class LengthScorer(Scorer):
    """Counts words, characters or sentences."""

    Config = Annotated[Unit, Field(description="what is counted in the sample")]

    config: Unit

    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        return [float(length_of(draft.text, self.config)) for draft in drafts]
