"""An echo engine that talks slowly, word by word, and ends its process where it is told to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from raygen.engines.echo import EchoEngine, echo_text
from raygen.engines.requests import GenerateChunk, GeneratedSample, GenerateRequest, GenerateResult

TALKER = "tests.serve.talker:Talker"


class Talker(EchoEngine):
    """Says `words` words, that depend on prompt and seed alone; ten times as many of a prompt that says `at length`.

    A prompt with `poison` ends the process.
    """

    class Options(EchoEngine.Options):
        words: int = Field(40, ge=1)
        pause_s: float = Field(0.05, ge=0)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        texts = [""] * len(request.seeds)
        async for chunk in self.stream(request):
            texts[chunk.index] += chunk.text
        samples = [GeneratedSample(text, "stop", self.options.words) for text in texts]
        return GenerateResult(samples, 1)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        prompt = str(request.prompt or "\n".join(str(message["content"]) for message in request.messages))
        if "poison" in prompt:
            os._exit(9)
        words = self.options.words * (10 if "at length" in prompt else 1)
        self.stats.requests += 1
        self.stats.in_flight += len(request.seeds)
        try:
            for number in range(words):
                await asyncio.sleep(self.options.pause_s)
                end = "stop" if number == words - 1 else None
                for index, seed in enumerate(request.seeds):
                    word = echo_text("", f"{prompt} {number}", seed)[:6]
                    yield GenerateChunk(
                        index, f"{word} ", number + 1, end, prompt_tokens=1 if number == 0 else None
                    )
        finally:
            self.stats.in_flight -= len(request.seeds)


def talker(**said: Any) -> dict[str, Any]:
    """Return a model of a service's configuration."""
    return {"family": "causal_lm", "engine": TALKER, **said}
