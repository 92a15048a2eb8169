"""Rows are stable: the same log-probabilities, to the last bit, with adapters, shared prefixes and pieces in any company."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.text.stable_proof import ADAPTER, Comparison, generated, save_adapter
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateRequest, LikelihoodRequest
from tests.fakes.tiny_llama import save_tiny, tiny_model

Asked = tuple[GenerateRequest, LikelihoodRequest | None]
PREFIX = (
    "the answer is in the inn and the thin xylophone " * 3
)  # shared, and long enough for a block of its own


def requests_of(count: int) -> list[Asked]:
    dice = random.Random(7)
    found: list[Asked] = []
    for row in range(count):
        text = "".join(dice.choices("the and in xyz?! ", k=dice.choice([3, 20, 70, 500])))
        text = PREFIX + text if row % 2 else text
        hot = 1.0 if row % 3 else 0.0
        sampling = Sampling(temperature=hot, max_tokens=dice.randrange(2, 9), logprobs=2)
        messages = [{"role": "user", "content": text}]
        adapter = ADAPTER if row % 4 < 2 else None
        scored = LikelihoodRequest(f"texts-{row}", ["yes", text[:90] or "no"], messages, adapter)
        asked = GenerateRequest(f"row-{row}", messages, sampling, [row, 100 + row], adapter)
        found.append((asked, scored if row % 5 == 0 else None))
    return found


@pytest.mark.parametrize(("dtype", "threads"), [("float32", 1), ("float32", 2), ("bfloat16", 1)])
def test_log_probabilities_have_the_same_bits_in_any_company(tmp_path: Path, dtype: str, threads: int):
    folder = save_tiny(tmp_path / "model", tiny_model(max_position_embeddings=1024))
    (tmp_path / "adapter").mkdir()
    save_adapter(str(folder), tmp_path / "adapter")
    requests = requests_of(14 if threads == 1 else 8)  # threads wait for each other beside other work
    shuffled = random.Random(1).sample(requests, len(requests))
    compositions: dict[str, tuple[list[list[Asked]], dict[str, Any]]] = {
        "all at once": ([requests], {}),
        "shuffled, three at once": ([shuffled], {"max_batch": 3}),
        "halves, in pieces": ([shuffled[:5], shuffled[5:]], {"prompt_tokens_per_step": 256}),
        "one by one": ([[each] for each in shuffled], {"max_batch": 2}),
    }
    comparison = Comparison()
    for name, (batches, options) in compositions.items():
        options = {"context_tokens": 1024, "threads": threads, **options}
        found, _ = asyncio.run(generated(str(folder), dtype, str(tmp_path / "adapter"), batches, **options))
        assert any(len(numbers) > 12 for numbers in found.values())
        comparison.add(found)
        assert comparison.figures()["differing"] == [], name
