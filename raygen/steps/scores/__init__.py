"""Scores: what `score` can measure about a sample.

A scorer has a description (`Config`), which stands below its name in the job, and returns one number for every sample of a row.
A new score is a file, and a line here.

Start reading: length.py, then similarity.py, which asks a model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from raygen.registry import Registry
from raygen.steps.inner import Inner
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story

SCORES = Registry(
    "score",
    "raygen.scores",
    {
        "entailment": "raygen.steps.scores.entailment:EntailmentScorer",
        "length": "raygen.steps.scores.length:LengthScorer",
        "perplexity": "raygen.steps.scores.perplexity:PerplexityScorer",
        "similarity": "raygen.steps.scores.similarity:SimilarityScorer",
        "wordlist": "raygen.steps.scores.wordlist:WordListScorer",
    },
    kind="raygen.steps.scores:Scorer",
)


class Scorer(Inner):
    """One score of a job."""

    @abstractmethod
    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        """Return a number for each of these samples. Raises RowError: the row fails; EngineError."""
