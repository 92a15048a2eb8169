"""Constrained output by the torch engine and SmolLM2: does every text keep to it, and what it costs.

`python -m benchmarks.text.constrained`. For each kind of constraint 32 prompts are sampled (temperature 1): printed are
how many texts ended by themselves and how many of those keep to it; the exit code is 1 if one does not. Then 32 texts of
exactly 64 tokens each, free and constrained in turns: output tokens a second, and the time of one token's mask.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from jsonschema import Draft202012Validator

from benchmarks.text.engine import MODEL
from benchmarks.text.prompts import WORKLOADS
from raygen.config.constraint import Constraint
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.requests import GeneratedSample, GenerateRequest
from raygen.engines.torch.engine import TorchEngine
from raygen.engines.torch.masks import ConstraintMask
from raygen.models.resolved import ResolvedModel

SCHEMA = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 1, "maxLength": 120},
        "difficulty": {"type": "integer", "minimum": 1, "maximum": 5},
        "kind": {"enum": ["fact", "reason", "opinion"]},
        "topics": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 3},
    },
    "required": ["question", "difficulty", "kind", "topics"],
    "additionalProperties": False,
}
CHOICES = ("science", "history", "everyday life", "history of science", "none of these")
REGEX = r"[A-Z][a-z ]{3,60}: \d{1,3}(\.\d)? (percent|km|years)"
GRAMMAR = 'start: term (OP term)*\nterm: NUMBER | "(" term OP term ")"\nOP: " + " | " - "\nNUMBER: /[1-9][0-9]{0,2}/'
PARENTHESES = r"(\d+|\(.+\))( [+-] (\d+|\(.+\)))*"
KINDS: dict[str, tuple[Constraint, Callable[[str], bool]]] = {
    "json_schema": (
        Constraint(json_schema=SCHEMA),
        lambda text: Draft202012Validator(SCHEMA).is_valid(json.loads(text)),
    ),
    "choice": (Constraint(choice=CHOICES), lambda text: text in CHOICES),
    "regex": (Constraint(regex=REGEX), lambda text: re.fullmatch(REGEX, text) is not None),
    "grammar": (Constraint(grammar=GRAMMAR), lambda text: re.fullmatch(PARENTHESES, text) is not None),
}
# None of these can end within the 64 tokens.
LONG: dict[str, Constraint | None] = {
    "free": None,
    "json_schema": Constraint(json_schema={"type": "array", "minItems": 100, "items": SCHEMA}),
    "regex": Constraint(regex=r"([A-Z][a-z]{1,12}( [a-z]{1,12}){2,9}[.?] ){100}"),
}
TOKENS = 64


class Clock:
    """Times every mask."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        compute = ConstraintMask.__call__

        def timed(mask: ConstraintMask, prompt: Any, tokens: Any) -> Any:
            began = time.perf_counter()
            try:
                return compute(mask, prompt, tokens)
            finally:
                self.seconds.append(time.perf_counter() - began)

        ConstraintMask.__call__ = timed  # type: ignore[method-assign]

    def take(self) -> list[float]:
        taken, self.seconds = self.seconds, []
        return taken


def requests(constraint: Constraint | None, rows: int, sampling: Sampling) -> list[GenerateRequest]:
    make, _ = WORKLOADS["chat"]
    return [
        GenerateRequest(str(n), prompt.chat(), sampling, [n], constraint=constraint)
        for n, prompt in enumerate(make(rows))
    ]


async def answer(engine: TorchEngine, asked: list[GenerateRequest]) -> tuple[list[GeneratedSample], float]:
    began = time.perf_counter()
    results = await asyncio.gather(*map(engine.generate, asked))
    return [result.samples[0] for result in results], time.perf_counter() - began


async def work(path: str, rows: int, repeats: int) -> int:
    spec = ModelSpec(
        family="causal_lm", engine="torch", ref=path, dtype="float32", options={"max_batch": rows}
    )
    engine = TorchEngine(ResolvedModel("smol", spec, path, "bench"))
    await engine.start()
    clock, broken = Clock(), 0
    for kind, (constraint, keeps) in KINDS.items():
        samples, _ = await answer(engine, requests(constraint, rows, Sampling(max_tokens=256)))
        ended = [sample.text for sample in samples if sample.finish_reason == "stop"]
        kept = sum(map(keeps, ended))
        broken += len(ended) - kept
        print(f"{kind}: {len(ended)} of {rows} texts ended, {kept} of them keep to it; such as {ended[:1]}")
    clock.take()
    rates: dict[str, list[float]] = {name: [] for name in LONG}
    masks: dict[str, list[float]] = {name: [] for name in LONG}
    exact = Sampling(max_tokens=TOKENS, min_tokens=TOKENS)
    for _ in range(repeats):
        for name, constraint in LONG.items():
            samples, seconds = await answer(engine, requests(constraint, rows, exact))
            assert all(sample.output_tokens == TOKENS for sample in samples)
            rates[name].append(rows * TOKENS / seconds)
            masks[name] += clock.take()
    await engine.close()
    free = statistics.median(rates["free"])
    for name, found in rates.items():
        rate = statistics.median(found)
        line = f"{name}: {rate:.1f} output tokens/s, {rate / free:.3f} of free"
        if masks[name]:
            microseconds = sorted(1e6 * each for each in masks[name])
            line += f"; a mask {statistics.mean(microseconds):.0f} us, median {statistics.median(microseconds):.0f}"
            line += f", 99 of 100 within {microseconds[len(microseconds) * 99 // 100]:.0f}"
        print(line, f"  (of {repeats} rounds: {', '.join(f'{each:.1f}' for each in found)})")
    return int(broken > 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    from raygen.models.fetch.reference import resolve

    sys.exit(asyncio.run(work(str(resolve(MODEL).path), given.rows, given.repeats)))


if __name__ == "__main__":
    main()
