"""Entailment: is the sample entailed by a premise, such as the row's passage? By a classifier of sentence pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from raygen.config.base import Frozen, Probability
from raygen.data.text.sentences import sentences_of
from raygen.errors import RowError
from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.inner import Inner
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story


class Entailment(Frozen):
    """Does a premise entail the sample? By a classifier of sentence pairs."""

    model: str = Field(description="the job's name of a classifier of sentence pairs")
    premise: str = Field(description="a template")
    hypothesis: str = Field("{{ sample }}", description="a template; `sample` and `answer` are the sample's")
    label: str = Field(
        "entailment", description="the model's name of the class that counts; a template may choose it by row"
    )
    by: Literal["whole", "sentences"] = Field(
        "whole",
        description="sentences: by that sentence of the premise, or two that follow each other, which speaks most for it; "
        "most models of sentence pairs have never read more",
    )
    threshold: Probability = Field(0.5, description="accepted from this probability on")


class AsksEntailment(Inner):
    """Asks how probable it is that a premise entails a sample."""

    Config = Entailment

    config: Entailment

    def __init__(self, config: Entailment, step: Step) -> None:
        super().__init__(config, step)
        self.model = config.model
        self._premise = self.template(config.premise, "premise")
        self._hypothesis = self.template(config.hypothesis, "hypothesis")
        self._label = self.template(config.label, "label")

    @classmethod
    def models(cls, config: Entailment) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "classify"

    @classmethod
    def labels(cls, config: Entailment) -> Iterable[tuple[str, str, str]]:
        if "{" not in config.label:  # a template's labels are known row by row
            yield "label", config.model, config.label

    async def judged(
        self, story: Story, drafts: Sequence[Draft], calls: Calls
    ) -> list[tuple[str, dict[str, float]]]:
        """Return, for each sample, the label that counts and the probability of every class."""
        pairs: list[tuple[str, str]] = []
        labels: list[str] = []
        ends: list[int] = []
        for draft in drafts:
            premises, hypothesis, label = self.asked(story, draft)
            pairs += [(premise, hypothesis) for premise in premises]
            labels.append(label)
            ends.append(len(pairs))
        found = await calls.classify(self.config.model, story.row_id, pairs)
        judged = []
        for start, end, label in zip([0, *ends], ends, labels, strict=False):
            if label not in found[start]:
                raise RowError(
                    "unknown_label",
                    f"model {self.config.model!r} has no class {label!r}; classes: {', '.join(found[start])}",
                )
            judged.append((label, max(found[start:end], key=lambda chances: chances[label])))
        return judged

    def asked(self, story: Story, draft: Draft) -> tuple[list[str], str, str]:
        """Return what is asked about a sample: premises, the hypothesis, and the label that counts. Raises RowError."""
        names = story.names(draft)
        premises = self._parts(self._premise.render(names))
        return premises, self._hypothesis.render(names), self._label.render(names).strip()

    def _parts(self, premise: str) -> list[str]:
        """Cut a premise into what the model reads at once."""
        if self.config.by == "whole":
            return [premise]
        sentences = sentences_of(premise) or [premise]
        return [*sentences, *(f"{one} {next_one}" for one, next_one in itertools.pairwise(sentences))]


class EntailmentCheck(AsksEntailment, Check):
    """Rejects samples that a premise does not entail; the score is the probability of the label."""

    reason = "not_entailed"

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        found = []
        for label, chances in await self.judged(story, drafts, calls):
            passed = chances[label] >= self.config.threshold
            finding = None if passed else f"{_SAID.get(label, f'it is not {label}')} ({_largest(chances)})"
            found.append(Verdict(passed, finding, chances[label], chances))
        return found


_SAID = {"entailment": "it does not follow from the text"}


def _largest(chances: dict[str, float]) -> str:
    label = max(chances, key=lambda name: chances[name])
    return f"{label}: {chances[label]:.0%}"
