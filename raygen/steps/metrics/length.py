"""Length: in words, characters or sentences."""

from __future__ import annotations

from collections.abc import Sequence

from raygen.steps.calls import Calls
from raygen.steps.checks.length import length_of
from raygen.steps.metrics import Metric
from raygen.steps.story import Draft, Story


class LengthMetric(Metric):
    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        return [float(length_of(draft.text, self.config)) for draft in drafts]
