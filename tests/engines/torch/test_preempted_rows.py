"""Rows of a batch that lose their slots to people, on a tiny model: texts and log-probabilities are the same, bit for bit."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from raygen.config.sampling import Sampling
from raygen.engines.requests import BATCH, GenerateRequest, GenerateResult
from raygen.engines.torch.engine import TorchEngine
from tests.engines.torch.test_engine import engine_of
from tests.fakes.running import with_engine
from tests.fakes.tiny_llama import save_tiny

FULL = [
    pytest.mark.full,
    pytest.mark.skipif(not os.environ.get("RAYGEN_FULL"), reason="RAYGEN_FULL=1 runs it"),
]
DRAWN = Sampling(temperature=1.0, max_tokens=40, logprobs=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def rows(priority: int = BATCH) -> list[GenerateRequest]:
    texts = [f"Count to {n} " + "and on " * (n % 3) for n in range(6)]
    return [
        GenerateRequest(f"row-{n}", [{"role": "user", "content": text}], DRAWN, [n, n + 100], priority=priority)
        for n, text in enumerate(texts)
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=FULL)])
def test_people_change_no_bit_of_a_batch(folder: Path, dtype: str) -> None:
    async def alone(engine: TorchEngine) -> list[GenerateResult]:
        return await asyncio.gather(*map(engine.generate, rows()))

    async def beside_people(engine: TorchEngine) -> tuple[list[GenerateResult], float]:
        batch = asyncio.gather(*map(engine.generate, rows()))
        asked = 0
        while not batch.done():
            people = [
                GenerateRequest(f"p-{asked}-{n}", [{"role": "user", "content": f"Hi {asked}"}],
                                Sampling(temperature=0, max_tokens=3), [n])
                for n in range(2)
            ]  # fmt: skip
            asked += 1
            await asyncio.gather(*map(engine.generate, people))
        return await batch, engine.stats.extra["preemptions"]

    expected = with_engine(engine_of(folder, dtype, max_batch=4), alone)
    found, preemptions = with_engine(engine_of(folder, dtype, max_batch=4), beside_people)
    assert preemptions > 3
    assert [each.samples for each in found] == [each.samples for each in expected]
