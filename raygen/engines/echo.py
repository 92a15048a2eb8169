"""The echo engine: text derived from SHA-256 of row, prompt and seed. Every output can be checked without a model."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import numpy as np
from pydantic import Field

from raygen.config.base import Frozen
from raygen.data.text.messages import told_calls
from raygen.engines.base import (
    ClassifyRequest,
    ClassifyResult,
    Engine,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    ResolvedModel,
)
from raygen.errors import RowError


def echo_text(row_id: str, prompt: str, seed: int) -> str:
    return hashlib.sha256(f"{row_id}\x00{prompt}\x00{seed}".encode("utf-8", "surrogatepass")).hexdigest()


def _said(message: dict[str, Any]) -> str:
    said = [str(message["content"])] if message.get("content") is not None else []
    return "\n".join([*said, *told_calls(message)])


class EchoEngine(Engine):
    families = frozenset({"causal_lm", "classifier"})
    needs_ref = False
    accepts_images = True
    has_weights = False
    deciding_options = frozenset({"context_tokens", "labels"})

    class Options(Frozen):
        delay_s: float = Field(0.0, ge=0, le=3600)
        concurrency: int = Field(256, ge=1)
        context_tokens: int = Field(1_000_000, ge=1, description="a longer prompt, in words, is refused")

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
        self.check_constraint(request.constraint)
        prompt = "\n".join(_said(message) for message in request.messages)
        if request.tools:
            prompt += f"\n{json.dumps(request.tools, sort_keys=True)}"
        prompt_tokens = prompt.count(" ") + 1
        if prompt_tokens > self.options.context_tokens:
            raise RowError(
                "prompt_too_long",
                f"the prompt has {prompt_tokens} tokens; the context holds {self.options.context_tokens}",
            )
        await self._wait()
        samples = [
            GeneratedSample(echo_text(request.row_id, prompt, seed), "stop", 1) for seed in request.seeds
        ]
        self.stats.requests += 1
        self.stats.prompt_tokens += prompt_tokens
        self.stats.output_tokens += len(samples)
        return GenerateResult(samples, prompt_tokens)

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
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
        self.stats.prompt_tokens += tokens
        return ClassifyResult(named, np.log(np.array(found, np.float32)), tokens)

    async def _wait(self) -> None:
        if not self.options.delay_s:
            return
        async with self._slots:
            self.stats.in_flight += 1
            try:
                await asyncio.sleep(self.options.delay_s)
            finally:
                self.stats.in_flight -= 1
