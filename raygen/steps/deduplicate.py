"""The deduplicate step: note what a row says in a form that others are compared with; the comparing comes at the run's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raygen.data.text.fingerprint import fingerprint
from raygen.runs.duplicates import Deduplicate
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story

if TYPE_CHECKING:
    from raygen.steps.context import Context


class DeduplicateStep(Step):
    """The last step. Which rows are duplicates depends on all rows, so that no row can be told by itself (runs/duplicates)."""

    Config = Deduplicate

    config: Deduplicate

    def __init__(
        self, config: Deduplicate, name: str, where: str, context: Context, before: Sequence[Step]
    ) -> None:
        super().__init__(config, name, where, context, before)
        self._of = self.template(config.of, "of")

    @classmethod
    def check(
        cls, config: Deduplicate, where: str, context: Context, number: int, scores: frozenset[str]
    ) -> None:
        after = context.steps[number + 1 :]
        if any(step.verb == "deduplicate" for step in after):
            raise ValueError(f"{where}: there is another `deduplicate` after it; a job has at most one")
        if after:
            raise ValueError(
                f"{where}: which rows are duplicates is known when all rows are done; move it to the end, "
                f"behind `{after[-1].verb}`"
            )

    async def run(self, story: Story, calls: Calls) -> None:
        texts = [self._of.render(story.names(draft)) for draft in story.accepted]
        story.fingerprint = fingerprint(texts, self.config.near)
