"""Metrics: what `score` can measure about a sample. A new one is a file, a field of `Score` and a line here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story

if TYPE_CHECKING:
    from raygen.steps.base import Step
    from raygen.steps.context import Context

METRICS = {
    "entailment": "raygen.steps.scores.entailment:EntailmentMetric",
    "length": "raygen.steps.scores.length:LengthMetric",
    "perplexity": "raygen.steps.scores.perplexity:PerplexityMetric",
    "similarity": "raygen.steps.scores.similarity:SimilarityMetric",
    "wordlist": "raygen.steps.scores.wordlist:WordListMetric",
}


class Metric(ABC):
    """One metric of a job. Stateless: safe to share between tasks.

    Args:
        config: its part of the job. step: the step that it belongs to, which compiles its templates.
    """

    model: str | None = None  # the model that it asks

    def __init__(self, config: Any, step: Step) -> None:
        self.config = config

    @abstractmethod
    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        """Return a number for each of these samples. Raises RowError: the row fails; EngineError."""

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
