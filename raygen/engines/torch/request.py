"""Request: what the torch engine remembers of a request until it is answered, and how its answer is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from raygen.engines.requests import GenerateChunk, GeneratedSample, GenerateRequest, TokenLogprob
from raygen.engines.stepping import Pending
from raygen.engines.torch.sample import Choice, Sample
from raygen.engines.torch.text_stream import TextStream
from raygen.errors import EngineError, RowError

TokenText = Callable[[int], str]  # one token as text


@dataclass(slots=True, eq=False)
class PendingSamples(Pending):
    """A request inside the engine: done when all its samples are, or one of them failed."""

    request: GenerateRequest
    prompt: list[int]
    adapter: str | None  # its key
    samples: list[Sample]
    progress: asyncio.Event = field(default_factory=asyncio.Event)  # a sample got a token

    def settle(self, error: RowError | EngineError | None = None) -> None:
        """Let the caller go on, or raise an error there; only the first call counts."""
        Pending.settle(self, error)
        self.progress.set()

    @property
    def begun(self) -> bool:
        """Whether any of its samples has had a slot."""
        return any(sample.reused is not None for sample in self.samples)

    @property
    def reused(self) -> int:
        """How much of the prompt was there already when the first sample got a slot."""
        return self.samples[0].reused or 0 if self.samples else 0


class SampleStream:
    """Tells one sample piece by piece.

    Args:
        index: of the sample, in the order of the request's seeds.
    """

    def __init__(self, index: int, sample: Sample, token_text: TokenText) -> None:
        self._index, self._sample, self._token_text = index, sample, token_text
        self._stream = TextStream(sample.rule)
        self._told = 0  # tokens whose log-probabilities were told
        self.ended = False

    def next(self) -> GenerateChunk | None:
        """Return what is newly certain; None: nothing."""
        sample = self._sample
        reason = sample.finish_reason  # looked at once, first of all: another thread goes on with the sample
        self.ended = reason is not None
        text = self._stream.push(sample.tokens, self.ended)
        if not text and not self.ended:
            return None
        start, self._told = self._told, self._stream.certain
        chunk = GenerateChunk(self._index, text, len(sample.tokens), reason)
        if sample.sampling.logprobs is not None:
            chunk.logprobs = logprobs_of(sample.choices[start : self._told], self._token_text)
        return chunk


def finished(sample: Sample, token_text: TokenText) -> GeneratedSample:
    """Return a finished sample as a whole."""
    logprobs = None if sample.sampling.logprobs is None else logprobs_of(sample.choices, token_text)
    tokens = list(sample.tokens)
    return GeneratedSample(sample.text, sample.finish_reason or "stop", len(tokens), tokens, logprobs)


def logprobs_of(choices: Sequence[Choice], token_text: TokenText) -> list[TokenLogprob]:
    """Return tokens with their log-probabilities and texts."""
    return [
        TokenLogprob(
            choice.token,
            token_text(choice.token),
            choice.logprob,
            [(token, token_text(token), logprob) for token, logprob in choice.top],
        )
        for choice in choices
    ]
