"""Entailment: is the sample entailed by a premise, such as the row's passage? By a classifier of sentence pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raygen.errors import RowError
from raygen.step_config import Entailment
from raygen.steps.base import Step
from raygen.steps.calls import Calls
from raygen.steps.checks import Check, Verdict
from raygen.steps.story import Draft, Story


class EntailmentCheck(Check):
    reason = "not_entailed"

    config: Entailment

    def __init__(self, config: Entailment, step: Step, key: str = "entailment") -> None:
        super().__init__(config, step)
        self.model = config.model
        self._premise = step.template(config.premise, f"{key}.premise")
        self._hypothesis = step.template(config.hypothesis, f"{key}.hypothesis")

    @classmethod
    def models(cls, config: Entailment) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "classifier"

    async def probabilities(
        self, story: Story, drafts: Sequence[Draft], calls: Calls
    ) -> list[dict[str, float]]:
        """Return each sample's probability of every class."""
        pairs = [
            (self._premise.render(names), self._hypothesis.render(names))
            for names in (story.names(draft) for draft in drafts)
        ]
        found = await calls.classify(self.config.model, story.row_id, pairs)
        if found and self.config.label not in found[0]:
            raise RowError(
                "unknown_label",
                f"model {self.config.model!r} has no class {self.config.label!r}; classes: {', '.join(found[0])}",
            )
        return found

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        found = []
        for chances in await self.probabilities(story, drafts, calls):
            chance = chances[self.config.label]
            passed = chance >= self.config.threshold
            finding = None if passed else f"it does not follow from the text ({_largest(chances)})"
            found.append(Verdict(passed, finding, chance, chances))
        return found


def _largest(chances: dict[str, float]) -> str:
    label = max(chances, key=lambda name: chances[name])
    return f"{label}: {chances[label]:.0%}"
