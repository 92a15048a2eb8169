"""Checks: what `verify` can find out about a sample. A new one is a file, a class in step_config.py and a line here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story

if TYPE_CHECKING:
    from raygen.steps.base import Step
    from raygen.steps.context import Context

CHECKS = {
    "entailment": "raygen.steps.checks.entailment:EntailmentCheck",
    "consistency": "raygen.steps.checks.consistency:ConsistencyCheck",
    "equals": "raygen.steps.checks.equals:EqualsCheck",
    "json_schema": "raygen.steps.checks.json_schema:JsonSchemaCheck",
    "judge": "raygen.steps.checks.judge:JudgeCheck",
    "language": "raygen.steps.checks.language:LanguageCheck",
    "length": "raygen.steps.checks.length:LengthCheck",
    "matches": "raygen.steps.checks.matches:MatchesCheck",
    "python": "raygen.steps.checks.python:PythonFunctionCheck",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found about one sample."""

    passed: bool
    finding: str | None = (
        None  # what is wrong, for a model that mends it and for people; or what is worth knowing
    )
    score: float | None = None  # the sample's, under the step's name
    scores: Mapping[str, float] | None = None  # all that was measured, such as the probability of each class
    reason: str | None = None  # of the rejection, if it is not the check's usual one


class Check(ABC):
    """One check of a job. Stateless: safe to share between tasks.

    Args:
        config: its part of the job. step: the step that it belongs to, which compiles its templates.

    Raises:
        ConfigError: it can never pass, or a template does not parse.
    """

    reason: ClassVar[str]  # of rejected rows; programs match on it
    scored: ClassVar[bool] = True  # do its verdicts have a score, to filter and choose samples by?
    model: str | None = None  # the model that it asks

    def __init__(self, config: Any, step: Step) -> None:
        self.config = config

    @abstractmethod
    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        """Return a verdict for each of these samples. Raises RowError: the row fails; EngineError."""

    @classmethod
    def models(cls, config: Any) -> Iterable[tuple[str, str, str]]:
        """Yield the models that a configuration names: the key that names it, the model, the verb it has to answer."""
        return ()

    @classmethod
    def labels(cls, config: Any) -> Iterable[tuple[str, str, str]]:
        """Yield the classes that a configuration counts on: the key that names it, the classifier, the class."""
        return ()

    @classmethod  # noqa: B027 - most need none
    def check(cls, config: Any, where: str, context: Context) -> None:
        """Refuse what cannot be. Raises ValueError."""
