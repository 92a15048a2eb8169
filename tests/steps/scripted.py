"""Scripted models: what they answer is written down by the test, and what they were asked is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.config.model import ModelSpec
from raygen.engines.base import Engine
from raygen.engines.requests import (
    ClassifyRequest,
    ClassifyResult,
    EmbedRequest,
    EmbedResult,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
)
from raygen.models.resolved import ResolvedModel
from raygen.program.job import Job
from raygen.program.program import Program, Tally
from raygen.runs.outcome import Outcome
from tests.fakes.echo_jobs import echo_job

ECHO = {"family": "causal_lm", "engine": "echo"}
NLI = {"family": "classifier", "engine": "echo"}


class Writer(Engine):
    """Says what `answers` returns for a prompt and the place of the sample."""

    def __init__(self, answers: Callable[[str, int], str]) -> None:
        super().__init__(ResolvedModel("writer", ModelSpec.model_validate(ECHO), None, "scripted"))
        self._answers = answers
        self.asked: list[GenerateRequest] = []

    @property
    def prompts(self) -> list[str]:
        return [request.messages[-1]["content"] for request in self.asked]

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        self.asked.append(request)
        prompt = request.messages[-1]["content"]
        texts = [self._answers(prompt, index) for index in range(len(request.seeds))]
        return GenerateResult(
            [GeneratedSample(text, "stop", len(text.split())) for text in texts], len(prompt.split())
        )


class Judge(Engine):
    """Classifies pairs: `chance` is the probability of `entailment`."""

    def __init__(self, chance: Callable[[str, str], float]) -> None:
        super().__init__(ResolvedModel("nli", ModelSpec.model_validate(NLI), None, "scripted"))
        self._chance = chance
        self.asked: list[ClassifyRequest] = []

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        raise AssertionError("a judge generates nothing")

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        self.asked.append(request)
        chances = [self._chance(*pair) for pair in request.texts]
        named = [{"entailment": p, "neutral": (1 - p) / 2, "contradiction": (1 - p) / 2} for p in chances]
        return ClassifyResult(named, np.zeros((len(named), 3), np.float32), 10 * len(named))


def job_of(*steps: dict[str, Any], **changes: Any) -> Job:
    """A job over models `writer`, `other` and `nli`."""
    models = {"writer": ECHO, "other": ECHO, "nli": NLI}
    return echo_job("in", "out", **{"models": models, "steps": list(steps), "keep": [], **changes})


def run(job: Job, writer: Engine, judge: Engine | None = None, row_id: str = "r1", **row: Any) -> Outcome:
    """Run a job's program on one row."""
    engines = {"writer": writer, "other": writer, "nli": judge or Judge(lambda premise, hypothesis: 1.0)}
    return asyncio.run(Program(job).run(engines, row_id, row, None, Tally()))


def with_rows(folder: Path, columns: dict[str, list[Any]]) -> Path:
    """Write a Parquet source."""
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return folder / "rows.parquet"


def story(outcome: Outcome) -> list[tuple[str, int | None, str]]:
    """Return a row's decisions: step, sample, decision."""
    return [(each["step"], each["sample"], each["decision"]) for each in outcome.attempts]


class Embedder(Engine):
    """Gives a text the vector that `vectors` returns for it."""

    spec = {"family": "embedder", "engine": "encoder", "ref": "./embedder"}

    def __init__(self, vectors: Callable[[str], list[float]]) -> None:
        super().__init__(ResolvedModel("embedder", ModelSpec.model_validate(self.spec), None, "scripted"))
        self._vectors = vectors
        self.asked: list[EmbedRequest] = []

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        raise AssertionError("an embedder generates nothing")

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        self.asked.append(request)
        vectors = np.array(
            [self._vectors(text) for text in request.inputs if isinstance(text, str)], np.float32
        )
        return EmbedResult(vectors, 5 * len(vectors))


class Reader(Engine):
    """Says how probable a text is: `logprob` of the messages' last content and the text; a token is a word."""

    spec = {"family": "causal_lm", "engine": "torch", "ref": "./reader"}

    def __init__(self, logprob: Callable[[str | None, str], float]) -> None:
        super().__init__(ResolvedModel("reader", ModelSpec.model_validate(self.spec), None, "scripted"))
        self._logprob = logprob
        self.asked: list[LikelihoodRequest] = []

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        raise AssertionError("a reader generates nothing")

    async def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        self.asked.append(request)
        prompt = request.messages[-1]["content"] if request.messages is not None else None
        counts = [len(text.split()) for text in request.texts]
        return LikelihoodResult([self._logprob(prompt, text) for text in request.texts], counts, 3)


def run_with(job: Job, row: dict[str, Any], **engines: Engine) -> Outcome:
    """Run a job's program on one row, with engines by the names of the job's models."""
    return asyncio.run(Program(job).run(engines, "r1", row, None, Tally()))


def verdict(
    check: dict[str, Any], text: str, generate: dict[str, Any] | None = None, **row: Any
) -> str | None:
    """Return what a check finds about a text; None: it passes."""
    generate = generate or {"generate": {"model": "writer", "prompt": "x"}}
    found = run(job_of(generate, {"verify": check}), Writer(lambda prompt, n: text), **row)
    return None if found.status == "accepted" else f"{found.reason}: {found.attempts[-1]['detail']}"


def texts(samples: list[dict[str, Any]]) -> list[str]:
    return [sample["text"] for sample in samples]
