"""Perplexity: exp of the mean negative log-likelihood of the sample's tokens under a causal LM; lower is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pydantic import Field

from raygen.config.base import Frozen
from raygen.engines.requests import LikelihoodRequest
from raygen.errors import RowError
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls, in_order
from raygen.steps.row.story import Draft, Story
from raygen.steps.scores import Scorer

MOST = 700.0  # nats a token: exp of more is no number


class Perplexity(Frozen):
    """How surprised is a model by the sample? 1 and more; lower is better."""

    model: str = Field(description="the job's name of a language model")
    prompt: str | None = Field(
        None, description="a template: what the sample answers; unset: nothing stands before it"
    )


class PerplexityScorer(Scorer):
    """Without a prompt the first token follows the one that begins texts, as in lm-evaluation-harness."""

    Config = Perplexity

    config: Perplexity

    def __init__(self, config: Perplexity, step: Step) -> None:
        super().__init__(config, step)
        self.model = config.model
        self._prompt = self.template(config.prompt, "prompt") if config.prompt is not None else None

    @classmethod
    def models(cls, config: Perplexity) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "likelihood"

    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        by_prompt: dict[str | None, list[int]] = {}  # samples after one prompt share its computation
        for number, draft in enumerate(drafts):
            prompt = self._prompt.render(story.names(draft)) if self._prompt is not None else None
            by_prompt.setdefault(prompt, []).append(number)
        requests = [
            LikelihoodRequest(
                story.row_id,
                [drafts[number].text for number in numbers],
                None if prompt is None else [{"role": "user", "content": prompt}],
            )
            for prompt, numbers in by_prompt.items()
        ]
        answers = await in_order(calls.likelihood(self.config.model, request) for request in requests)
        found: dict[int, float] = {}
        for numbers, answer in zip(by_prompt.values(), answers, strict=True):
            for number, logprob, tokens in zip(numbers, answer.logprobs, answer.tokens, strict=True):
                found[number] = _perplexity(logprob, tokens)
        return [found[number] for number in range(len(drafts))]


def _perplexity(logprob: float, tokens: int) -> float:
    if not tokens:
        raise RowError("empty_text", "a sample has no tokens; its perplexity is not defined")
    return math.exp(min(-logprob / tokens, MOST))
