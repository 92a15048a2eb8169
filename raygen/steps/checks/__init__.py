"""Checks: what `verify` can find out about a sample.

A check has a description (`Config`), which stands below its name in the job, and returns a verdict for every sample of a row: a
finding that people and models can read, and a score if it has one. A new check is a file, and a line here.

Start reading: length.py, which asks no model, then entailment.py, which does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from raygen.registry import Registry
from raygen.steps.inner import Inner
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story

CHECKS = Registry(
    "check",
    "raygen.checks",
    {
        "entailment": "raygen.steps.checks.entailment:EntailmentCheck",
        "consistency": "raygen.steps.checks.consistency:ConsistencyCheck",
        "equals": "raygen.steps.checks.equals:EqualsCheck",
        "json_schema": "raygen.steps.checks.json_schema:JsonSchemaCheck",
        "judge": "raygen.steps.checks.judge:JudgeCheck",
        "language": "raygen.steps.checks.language:LanguageCheck",
        "length": "raygen.steps.checks.length:LengthCheck",
        "matches": "raygen.steps.checks.matches:MatchesCheck",
        "python": "raygen.steps.checks.python:PythonFunctionCheck",
    },
    kind="raygen.steps.checks:Check",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found about one sample.

    Attributes:
        passed: whether the sample stays accepted.
        finding: what is wrong, for people and for a model that mends it; or what is worth knowing of one that passed.
        score: the sample's, under the step's name.
        scores: all that was measured, such as the probability of each class.
        reason: of the rejection, if it is not the check's usual one.
    """

    passed: bool
    finding: str | None = None
    score: float | None = None
    scores: Mapping[str, float] | None = None
    reason: str | None = None


class Check(Inner):
    """One check of a job."""

    # Why rows are rejected, as a word; programs match on it.
    reason: ClassVar[str]
    # Whether its verdicts have a score, to filter and choose samples by.
    scored: ClassVar[bool] = True

    @abstractmethod
    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        """Return a verdict for each of these samples. Raises RowError: the row fails; EngineError."""
