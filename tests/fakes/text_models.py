"""Text models of a few lines, as endpoints are served them: they answer what a test says, in pieces that it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from raygen.config.model import ModelSpec
from raygen.engines.base import Engine
from raygen.engines.requests import (
    GenerateChunk,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    TokenLogprob,
)
from raygen.models.resolved import ResolvedModel
from raygen.wire.base import Served


class Saying(Engine):
    """Says the same text in each sample, in pieces of so many characters, a token each; keeps what it was asked."""

    needs_ref = has_weights = False
    takes_constraints = takes_tools = takes_raw_prompts = tells_prompt_logprobs = True

    def __init__(
        self, model: ResolvedModel, text: str, pieces: int | Sequence[str] = 3, finish: str = "stop"
    ):
        super().__init__(model)
        self.text, self.finish = text, finish
        self.pieces = (
            [text[at : at + pieces] for at in range(0, len(text), pieces)]
            if isinstance(pieces, int)
            else list(pieces)
        )
        self.asked: list[GenerateRequest] = []
        self.closed = 0
        self.wait_s = 0.0

    def _logprobs(self, request: GenerateRequest, pieces: Sequence[str]) -> list[TokenLogprob] | None:
        if request.sampling.logprobs is None:
            return None
        tops = request.sampling.logprobs
        return [TokenLogprob(7, each, -0.5, [(7, each, -0.5), (8, "!", -1.5)][:tops]) for each in pieces]

    def _prompt(self, request: GenerateRequest) -> list[TokenLogprob] | None:
        if request.prompt_logprobs is None or request.prompt is None:
            return None
        texts = request.prompt.split(" ") if isinstance(request.prompt, str) else map(str, request.prompt)
        words = [
            f" {text}" if at and isinstance(request.prompt, str) else text for at, text in enumerate(texts)
        ]
        return [
            TokenLogprob(at, each, -1.0 if at else None, [(at, each, -1.0)]) for at, each in enumerate(words)
        ]

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        self.asked.append(request)
        await asyncio.sleep(self.wait_s)
        samples = [
            GeneratedSample(
                self.text, self.finish, len(self.pieces), logprobs=self._logprobs(request, self.pieces)
            )
            for _ in request.seeds
        ]
        return GenerateResult(samples, 5, 2, self._prompt(request))

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        self.asked.append(request)
        try:
            for number, piece in enumerate(self.pieces):
                for index in range(len(request.seeds)):
                    chunk = GenerateChunk(index, piece, number + 1, logprobs=self._logprobs(request, [piece]))
                    if number == index == 0:
                        chunk.prompt_tokens, chunk.cached_tokens = 5, 2
                        chunk.prompt_logprobs = self._prompt(request)
                    if number == len(self.pieces) - 1:
                        chunk.finish_reason = self.finish
                    yield chunk
                await asyncio.sleep(self.wait_s)
        finally:
            self.closed += 1


def spec_of(**keys) -> ModelSpec:
    return ModelSpec.model_validate({"family": "causal_lm", "engine": "echo", **keys})


def saying(text: str, pieces: int | Sequence[str] = 3, finish: str = "stop", **spec) -> Served:
    """Return a served model that says a text."""
    model = ResolvedModel("smol", spec_of(**spec), None, "digest")
    return Served("smol", Saying(model, text, pieces, finish), model)
