"""What the torch engine promises, shown on SmolLM2: `python -m benchmarks.text.proofs exact|stable|prefixes|memory`.

- exact: greedy tokens beside transformers `generate`, one prompt at a time, in fp32
- stable: rows whose log-probabilities differ by a bit between compositions: see stable_proof.py
- prefixes: prompt tokens computed beside the unique ones, over shuffled rows with five long system prompts; n samples
- memory: the process's size over many requests
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.text.engine import MODEL
from benchmarks.text.prompts import WORKLOADS
from benchmarks.text.stable_proof import prove_stable
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.engines.torch.engine import TorchEngine
from raygen.models.resolved import ResolvedModel

Tokens = dict[str, tuple[tuple[int, ...], ...]]  # by row: of each sample


def requests_of(count: int, max_tokens: int, samples: int = 1) -> list[GenerateRequest]:
    """Chat prompts, greedy."""
    found = []
    sampling = Sampling(temperature=0, max_tokens=max_tokens)
    for number, prompt in enumerate(WORKLOADS["chat"][0](count)):
        seeds = [1000 * number + sample for sample in range(samples)]
        found.append(GenerateRequest(f"row-{number}", prompt.chat(), sampling, seeds))
    return found


def run_engine(
    path: str, dtype: str, batches: Sequence[Sequence[GenerateRequest]], **options: Any
) -> tuple[Tokens, dict[str, float]]:
    """Send requests, batch after batch; all of a batch at once."""
    spec = ModelSpec(family="causal_lm", engine="torch", ref=path, dtype=dtype, options=options)  # type: ignore[arg-type]

    async def drive() -> tuple[Tokens, dict[str, float]]:
        engine = TorchEngine(ResolvedModel("m", spec, path, "bench"))
        await engine.start()
        found: Tokens = {}
        for batch in batches:
            results: list[GenerateResult] = await asyncio.gather(*map(engine.generate, batch))
            for request, result in zip(batch, results, strict=True):
                found[request.row_id] = tuple(tuple(sample.token_ids or ()) for sample in result.samples)
        figures = dict(engine.stats.extra)
        await engine.close()
        return found, figures

    return asyncio.run(drive())


def exact(path: str, given: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    requests = requests_of(given.rows, given.max_tokens)
    ours, figures = run_engine(path, "float32", [requests], max_batch=given.batch)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    differing = []
    for request in requests:
        text = tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        with torch.inference_mode():
            ids = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=given.max_tokens,
                eos_token_id=end,
                pad_token_id=end,
            )
        if tuple(ids[0, inputs["input_ids"].shape[1] :].tolist()) != ours[request.row_id][0]:
            differing.append(request.row_id)
    return {"rows": len(requests), "differing": differing, **figures}


def prefixes(path: str, given: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoTokenizer

    words = Path(__file__).with_name("prompts.py").read_text().split()
    systems = [" ".join(random.Random(n).choices(words, k=150)) for n in range(5)]
    sampling = Sampling(temperature=0, max_tokens=4)
    requests = [
        GenerateRequest(
            str(n),
            [{"role": "system", "content": systems[n % 5]}, {"role": "user", "content": f"Say {n}."}],
            sampling,
            [n],
        )
        for n in range(given.rows)
    ]
    tokenizer = AutoTokenizer.from_pretrained(path)
    tree: set[tuple[int, ...]] = set()
    whole = 0
    for request in requests:
        text = tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        whole += len(ids)
        tree |= {tuple(ids[: end + 1]) for end in range(len(ids))}
    random.Random(1).shuffle(requests)
    _, figures = run_engine(path, given.dtype, [requests], max_batch=given.batch)
    computed = figures["prompt_tokens_computed"]
    found = {"prompt_tokens": whole, "unique": len(tree), "computed": computed, "ratio": computed / len(tree)}
    one = requests_of(32, 4)
    eight = requests_of(32, 4, samples=8)
    costs = [run_engine(path, given.dtype, [each])[1]["prompt_tokens_computed"] for each in (one, eight)]
    return {**found, "n1_computed": costs[0], "n8_computed": costs[1], "n8_ratio": costs[1] / costs[0]}


def memory(path: str, given: argparse.Namespace) -> dict[str, Any]:
    """Requests in waves of a tenth; the process's resident size after each."""
    spec = ModelSpec(family="causal_lm", engine="torch", ref=path, dtype=given.dtype)

    def resident_mib() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20

    async def drive() -> list[int]:
        engine = TorchEngine(ResolvedModel("m", spec, path, "bench"))
        await engine.start()
        sizes = []
        wave = given.rows // 10
        for number in range(10):
            rng = random.Random(number)
            await asyncio.gather(
                *(
                    engine.generate(
                        GenerateRequest(
                            str(n),
                            [{"role": "user", "content": f"{number} {n} " * rng.randint(1, 12)}],
                            Sampling(temperature=0.7, max_tokens=rng.randint(1, given.max_tokens)),
                            [n],
                        )
                    )
                    for n in range(wave)
                )
            )
            sizes.append(resident_mib())
            print(f"{(number + 1) * wave:,} requests: {sizes[-1]:,} MiB", flush=True)
        await engine.close()
        return sizes

    return {"requests": given.rows, "resident_mib": asyncio.run(drive())}


def stable(path: str, given: argparse.Namespace) -> dict[str, Any]:
    return prove_stable(path, given.dtype, given.rows, given.max_tokens)


def main() -> None:
    proofs = {"exact": exact, "stable": stable, "prefixes": prefixes, "memory": memory}
    rows = {"exact": 100, "stable": 256, "prefixes": 500, "memory": 10_000}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof", choices=proofs)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--max-tokens", type=int, help="16 for `stable`, else 32")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    given.rows = given.rows or rows[given.proof]
    given.max_tokens = given.max_tokens or (16 if given.proof == "stable" else 32)
    from raygen.models.fetch.reference import resolve

    print(json.dumps({"proof": given.proof, **proofs[given.proof](str(resolve(MODEL).path), given)}))


if __name__ == "__main__":
    main()
