"""The echo engine: texts and pictures derived from prompt and seed by hashes. Outputs can be checked without a model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import zlib
from typing import Any

import numpy as np
from pydantic import Field

from raygen.config.base import Frozen
from raygen.data.text.messages import told_calls
from raygen.engines.base import Engine
from raygen.engines.requests import (
    ClassifyRequest,
    ClassifyResult,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    MediaSample,
    RenderRequest,
    RenderResult,
)
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel
from raygen.usage import OUTPUT_TOKENS, PROMPT_TOKENS


def echo_text(row_id: str, prompt: str, seed: int) -> str:
    """Return the text that the echo engine answers with: a hash of its arguments."""
    return hashlib.sha256(f"{row_id}\x00{prompt}\x00{seed}".encode("utf-8", "surrogatepass")).hexdigest()


def echo_picture(prompt: str, seed: int, width: int = 8, height: int = 8, size_bytes: int = 0) -> bytes:
    """Return a PNG whose bytes depend on the arguments alone.

    Args:
        prompt: what the picture is of.
        seed: of the sample.
        width: in pixels. height: in pixels.
        size_bytes: the file is filled up to this size, with bytes that do not compress.
    """
    drawn = hashlib.shake_256(f"{prompt}\x00{seed}".encode("utf-8", "surrogatepass"))
    noise = drawn.digest(3 * width * height)
    rows = (noise[3 * width * y : 3 * width * (y + 1)] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    parts = [
        _png_part(b"IHDR", header),
        _png_part(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 1)),
    ]
    missing = size_bytes - len(_PNG) - sum(map(len, parts)) - 2 * _PNG_PART
    if missing > 0:
        parts.append(
            _png_part(b"ecHo", drawn.digest(len(noise) + missing)[len(noise) :])
        )  # a chunk that readers of pictures pass by
    return b"".join([_PNG, *parts, _png_part(b"IEND", b"")])


_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PART = 12  # bytes of a chunk beside its data: length, kind, checksum


def _png_part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _said(message: dict[str, Any]) -> str:
    said = [str(message["content"])] if message.get("content") is not None else []
    return "\n".join([*said, *told_calls(message)])


class EchoEngine(Engine):
    families = {
        "causal_lm": frozenset({"generate"}),
        "classifier": frozenset({"classify"}),
        "diffusion": frozenset({"render"}),
    }
    inputs = frozenset({"text", "image"})
    needs_ref = False
    has_weights = False
    deciding_options = frozenset({"context_tokens", "labels", "media_bytes"})

    class Options(Frozen):
        delay_s: float = Field(0.0, ge=0, le=3600, description="how long each answer takes")
        concurrency: int = Field(256, ge=1, description="the most requests at once")
        context_tokens: int = Field(1_000_000, ge=1, description="a longer prompt, in words, is refused")
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
        self.check_constraint(request.constraint)
        prompt = "\n".join(_said(message) for message in request.messages)
        if request.tools:
            prompt += f"\n{json.dumps(request.tools, sort_keys=True)}"
        prompt_tokens = self._prompt_tokens(prompt)
        await self._wait()
        samples = [
            GeneratedSample(echo_text(request.row_id, prompt, seed), "stop", 1) for seed in request.seeds
        ]
        self.stats.requests += 1
        self.stats.usage[PROMPT_TOKENS] += prompt_tokens
        self.stats.usage[OUTPUT_TOKENS] += len(samples)
        return GenerateResult(samples, prompt_tokens)

    async def render(self, request: RenderRequest) -> RenderResult:
        """Return a small PNG for every seed, which depends on prompt (or label), seed and settings.size alone."""
        if request.settings.format != "png":
            raise RowError("engine_unsupported", f"engine `echo` renders png, not {request.settings.format}")
        prompt = request.prompt if request.prompt is not None else request.label or ""
        prompt_tokens = self._prompt_tokens(prompt)
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

    def _prompt_tokens(self, prompt: str) -> int:
        """Count a prompt's words. Raises RowError `prompt_too_long`."""
        tokens = prompt.count(" ") + 1
        if tokens > self.options.context_tokens:
            raise RowError(
                "prompt_too_long",
                f"the prompt has {tokens} tokens; the context holds {self.options.context_tokens}",
            )
        return tokens

    async def _wait(self) -> None:
        if not self.options.delay_s:
            return
        async with self._slots:
            self.stats.in_flight += 1
            try:
                await asyncio.sleep(self.options.delay_s)
            finally:
                self.stats.in_flight -= 1
