"""The echo engine: texts and pictures derived from prompt and seed by hashes. Outputs can be checked without a model."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from pydantic import Field

from raygen.config.base import Frozen
from raygen.data.text.messages import told_calls
from raygen.engines.base import Engine
from raygen.engines.echo_pictures import echo_picture
from raygen.engines.echo_words import prompt_text, told_prompt, told_words, vector_of, words_of, written
from raygen.engines.requests import (
    ClassifyRequest,
    ClassifyResult,
    EmbedRequest,
    EmbedResult,
    GenerateChunk,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    Media,
    MediaSample,
    RenderRequest,
    RenderResult,
    TokenLogprob,
)
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel
from raygen.usage import OUTPUT_TOKENS, PROMPT_TOKENS, Usage


def echo_text(row_id: str, prompt: str, seed: int) -> str:
    """Return the text that the echo engine answers with: a hash of its arguments."""
    return hashlib.sha256(f"{row_id}\x00{prompt}\x00{seed}".encode("utf-8", "surrogatepass")).hexdigest()


def _said(message: dict[str, Any]) -> str:
    said = [str(message["content"])] if message.get("content") is not None else []
    return "\n".join([*said, *told_calls(message)])


class EchoEngine(Engine):
    families = {
        "causal_lm": frozenset({"generate", "likelihood"}),
        "embedder": frozenset({"embed"}),
        "classifier": frozenset({"classify"}),
        "diffusion": frozenset({"render"}),
    }
    inputs = frozenset({"text", "image"})
    needs_ref = False
    has_weights = False
    takes_raw_prompts = True
    tells_prompt_logprobs = True
    takes_tools = True
    deciding_options = frozenset({"context_tokens", "labels", "media_bytes", "output_tokens", "width"})

    class Options(Frozen):
        delay_s: float = Field(
            0.0,
            ge=0,
            le=3600,
            description="how long each answer takes; a stream's words come evenly within it",
        )
        concurrency: int = Field(256, ge=1, description="the most requests at once")
        context_tokens: int = Field(1_000_000, ge=1, description="a longer prompt, in words, is refused")
        output_tokens: int | None = Field(
            None, ge=1, le=65536, description="words of each text; unset: one, the digest"
        )
        width: int = Field(8, ge=1, le=65536, description="numbers of an embedder's vector")
        media_bytes: int = Field(
            0, ge=0, le=2**30, description="rendered pictures are filled up to this size"
        )
        labels: tuple[str, ...] = Field(
            ("entailment", "neutral", "contradiction"), min_length=2, description="classes of a classifier"
        )

    @classmethod
    def labels(cls, model: ResolvedModel) -> tuple[str, ...] | None:
        options = cls.Options.model_validate(model.spec.options)
        return options.labels if model.spec.family == "classifier" else None

    async def start(self) -> None:
        self._slots = asyncio.Semaphore(self.options.concurrency)
        self.stats.limit = self.options.concurrency

    @property
    def capacity(self) -> int:
        return int(self.options.concurrency)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        prompt, prompt_tokens, told = self._read(request)
        async with self._slot():
            await self._wait()
        samples = [self._written(request, prompt, seed) for seed in request.seeds]
        self._count(prompt_tokens, sum(sample.output_tokens or 0 for sample in samples))
        return GenerateResult(samples, prompt_tokens, 0, told)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        """Yield word by word, the samples in turn; a slot is held until the last one, or until nobody listens any more."""
        prompt, prompt_tokens, told = self._read(request)
        samples = [self._written(request, prompt, seed) for seed in request.seeds]
        words = [words_of(sample.text) if self.options.output_tokens else [sample.text] for sample in samples]
        longest = max(map(len, words), default=0)
        first = True
        async with self._slot():
            for place in range(longest):
                await self._wait(parts=longest)
                for index, sample in enumerate(samples):
                    if place >= len(words[index]):
                        continue
                    last = place + 1 == len(words[index])
                    chunk = GenerateChunk(
                        index, words[index][place], place + 1, sample.finish_reason if last else None
                    )
                    chunk.logprobs = sample.logprobs and sample.logprobs[place : place + 1]
                    if first:
                        chunk.prompt_tokens, chunk.cached_tokens = prompt_tokens, 0
                        chunk.prompt_logprobs, first = told, False
                    yield chunk
        self._count(prompt_tokens, sum(map(len, words)))

    def _read(self, request: GenerateRequest) -> tuple[str, int, list[TokenLogprob] | None]:
        """Return the prompt as text, its words, and what is told of them. Raises RowError."""
        self.check_generate(request)
        if request.prompt is not None:
            prompt = prompt_text(request.prompt)
        else:
            prompt = "\n".join(_said(message) for message in request.messages)
            if request.tools:
                prompt += f"\n{json.dumps(request.tools, sort_keys=True)}"
        prompt_tokens = self._prompt_tokens(prompt)
        told = None
        if request.prompt_logprobs is not None:
            given = prompt if request.prompt is None else request.prompt
            told = told_prompt(given, request.prompt_logprobs)
        return prompt, prompt_tokens, told

    def _written(self, request: GenerateRequest, prompt: str, seed: int) -> GeneratedSample:
        """Return the text of one seed: the digest, or as many words as the options say, which follow from it."""
        text = echo_text(request.row_id, prompt, seed)
        wanted, most = self.options.output_tokens, request.sampling.max_tokens
        if wanted is not None:
            text = written(text, min(wanted, most))
        words = [text] if wanted is None else words_of(text)
        finish = "stop" if wanted is None or wanted <= most else "length"
        top = request.sampling.logprobs
        return GeneratedSample(
            text, finish, len(words), logprobs=None if top is None else told_words(words, top)
        )

    async def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        self._check_family("likelihood")
        self.check_adapter(request.adapter)
        before = "\n".join(_said(message) for message in request.messages or ())
        prompt_tokens = self._prompt_tokens(before) if request.messages else 0
        async with self._slot():
            await self._wait()
        texts = [words_of(text) if text else [] for text in request.texts]
        logprobs = [sum(each.logprob or 0.0 for each in told_words(words, 0)) for words in texts]
        self.stats.requests += 1
        result = LikelihoodResult(logprobs, list(map(len, texts)), prompt_tokens)
        self.stats.usage += result.usage
        return result

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        self._check_family("embed")
        async with self._slot():
            await self._wait()
        contents = [each.data if isinstance(each, Media) else each for each in request.inputs]
        vectors = [vector_of(content, self.options.width) for content in contents]
        texts = [each for each in request.inputs if isinstance(each, str)]
        images = len(contents) - len(texts)
        self.stats.requests += 1
        result = EmbedResult(
            np.array(vectors, np.float32).reshape(len(vectors), self.options.width),
            sum(len(words_of(text)) for text in texts),
            Usage(images=images) if images else Usage(),
        )
        self.stats.usage += result.usage
        return result

    async def render(self, request: RenderRequest) -> RenderResult:
        """Return a small PNG for every seed, which depends on prompt (or label), seed and settings.size alone."""
        if request.settings.format != "png":
            raise RowError("engine_unsupported", f"engine `echo` renders png, not {request.settings.format}")
        prompt = request.prompt if request.prompt is not None else request.label or ""
        prompt_tokens = self._prompt_tokens(prompt)
        async with self._slot():
            await self._wait()
        width, height = request.settings.size or (8, 8)
        samples = [
            MediaSample(
                echo_picture(prompt, seed, width, height, self.options.media_bytes),
                "image/png",
                width,
                height,
            )
            for seed in request.seeds
        ]
        self.stats.requests += 1
        result = RenderResult(samples, prompt_tokens)
        self.stats.usage += result.usage
        return result

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        async with self._slot():
            await self._wait()
        pairs = [[text] if isinstance(text, str) else list(text) for text in request.texts]
        found = []
        for parts in pairs:
            digest = hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).digest()
            weights = [1 + byte for byte in digest[: len(self.options.labels)]]
            found.append([weight / sum(weights) for weight in weights])
        self.stats.requests += 1
        named = [dict(zip(self.options.labels, row, strict=True)) for row in found]
        tokens = sum(len(part.split()) for parts in pairs for part in parts)
        result = ClassifyResult(named, np.log(np.array(found, np.float32)), tokens)
        self.stats.usage += result.usage
        return result

    def _check_family(self, verb: str) -> None:
        if verb not in self.families.get(self.model.spec.family, ()):
            raise self.lacks(verb)

    def _prompt_tokens(self, prompt: str) -> int:
        """Count a prompt's words. Raises RowError `prompt_too_long`."""
        tokens = prompt.count(" ") + 1
        if tokens > self.options.context_tokens:
            raise RowError(
                "prompt_too_long",
                f"the prompt has {tokens} tokens; the context holds {self.options.context_tokens}",
            )
        return tokens

    def _count(self, prompt_tokens: int, output_tokens: int) -> None:
        self.stats.requests += 1
        self.stats.usage[PROMPT_TOKENS] += prompt_tokens
        self.stats.usage[OUTPUT_TOKENS] += output_tokens

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Hold one of `concurrency` slots, if answers take any time."""
        if not self.options.delay_s:
            yield
            return
        self.stats.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.stats.waiting -= 1
        self.stats.in_flight += 1
        try:
            yield
        finally:
            self.stats.in_flight -= 1
            self._slots.release()

    async def _wait(self, parts: int = 1) -> None:
        if self.options.delay_s:
            await asyncio.sleep(self.options.delay_s / parts)
