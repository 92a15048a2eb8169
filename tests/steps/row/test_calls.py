"""Calls: several at once end like one after the other, and what they cost is counted."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from raygen.engines.requests import LikelihoodRequest, LikelihoodResult
from raygen.errors import RowError
from raygen.steps.row.calls import Calls, in_order
from tests.steps.scripted import Embedder, Reader


def test_the_first_error_by_order_counts_whichever_comes_first() -> None:
    ended: list[int] = []

    async def work(number: int, pause_s: float, fails: bool) -> int:
        await asyncio.sleep(pause_s)
        ended.append(number)
        if fails:
            raise RowError(f"code_{number}", "no")
        return number

    async def both() -> list[int]:
        return await in_order([work(0, 0.02, False), work(1, 0.03, True), work(2, 0.0, True)])

    with pytest.raises(RowError) as refused:
        asyncio.run(both())
    assert refused.value.code == "code_1"
    assert ended == [2, 0, 1]  # none is left behind
    assert asyncio.run(in_order([work(0, 0.01, False), work(1, 0.0, False)])) == [0, 1]


def test_vectors_and_likelihoods_are_counted() -> None:
    engines = {"embedder": Embedder(lambda text: [1, 2]), "reader": Reader(lambda prompt, text: -1.0)}
    calls = Calls(engines, {})

    async def ask() -> None:
        found = await calls.embed("embedder", "r", ["a", "b"])
        assert found.tolist() == [[1, 2], [1, 2]]
        likely = await calls.likelihood("reader", LikelihoodRequest("r", ["a b", "c"]))
        assert (likely.logprobs, likely.tokens) == ([-1, -1], [2, 1])

    asyncio.run(ask())
    assert (calls.computed, calls.usage) == (2, {"encoded_tokens": 10, "prompt_tokens": 3 + 3})


def test_nothing_is_asked_about_nothing() -> None:
    calls = Calls({}, {})

    async def ask() -> tuple[np.ndarray, LikelihoodResult]:
        return await calls.embed("m", "r", []), await calls.likelihood("m", LikelihoodRequest("r", []))

    vectors, likely = asyncio.run(ask())
    assert (len(vectors), likely, calls.computed) == (0, LikelihoodResult([], [], 0), 0)
