"""Self-consistency beside greedy decoding, on held-out word problems: `python -m benchmarks.self_consistency --adapter DIR`.

The model is SmolLM2, with an adapter from jobs/arithmetic_star.py if one is given: by itself it solves few problems. Greedy
takes one solution; self-consistency takes `--samples` of them and the commonest answer. Both are whole jobs, run inline.
Printed: exact answers of both, on the same problems, and how many each solved alone.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import raygen
from raygen.config import Job
from raygen.data.arithmetic import TEST_STORIES, make_problems, write_problems
from raygen.pipeline.run import run_job
from raygen.train.course import SMOLLM2, SYSTEM

ANSWER = r"Answer: *(-?\d+)"


def job_of(given: argparse.Namespace, folder: Path, name: str, samples: int, temperature: float) -> Job:
    spec: dict[str, Any] = {"family": "causal_lm", "engine": "torch", "ref": SMOLLM2, "dtype": "float32"}
    step: dict[str, Any] = {
        "model": "solver", "system": SYSTEM, "prompt": "{{ problem }}", "samples": samples, "answer": {"pattern": ANSWER},
        "sampling": {"temperature": temperature, "max_tokens": 56},
    }  # fmt: skip
    if given.adapter:
        spec["adapters"], step["adapter"] = {"tuned": str(Path(given.adapter).resolve())}, "tuned"
    steps = [{"generate": step}, {"select": {"majority": True}}]
    return Job.model_validate(
        {
            "name": name, "models": {"solver": spec}, "steps": steps, "keep": ["answer"], "seed": given.seed,
            "source": {"format": "parquet", "uri": str(folder / "problems.parquet"), "key": "problem_id"},
            "sink": {"chunk_rows": 16}, "output": str(folder / name),
        }
    )  # fmt: skip


def solved(job: Job) -> dict[str, bool]:
    """Run a job; say of every problem whether its answer is right."""
    run_job(job, inline=True)
    rows = raygen.open_run(job.output_uri).to_arrow().to_pylist()
    return {
        row["row_id"]: row["status"] == "accepted" and int(row["samples"][0]["answer"]) == row["answer"]
        for row in rows
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapter", help="a LoRA adapter's directory")
    parser.add_argument("--problems", type=int, default=240)
    parser.add_argument("--largest", type=int, default=20, help="number in a problem or its solution")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = make_problems(given.problems, TEST_STORIES, "vote", given.seed, given.largest)
        write_problems(folder / "problems.parquet", problems)
        greedy = solved(job_of(given, folder, "greedy", 1, 0.0))
        voted = solved(job_of(given, folder, "voted", given.samples, given.temperature))
    gained = sum(voted[each] and not greedy[each] for each in greedy)
    lost = sum(greedy[each] and not voted[each] for each in greedy)
    # Two-sided sign test: would a coin have parted the problems that only one of them solved as unevenly?
    chance = min(
        1.0, 2 * sum(math.comb(gained + lost, n) for n in range(min(gained, lost) + 1)) / 2 ** (gained + lost)
    )
    count = len(greedy)
    print(
        f"greedy: {sum(greedy.values())} of {count}; {given.samples} samples and a vote: {sum(voted.values())} of {count}"
    )
    print(
        f"solved by the vote alone: {gained}; by greedy alone: {lost}; chance of that if both were equal: {chance:.4f}"
    )
    figures = {
        "greedy": sum(greedy.values()) / count,
        "voted": sum(voted.values()) / count,
        "gained": gained,
        "lost": lost,
    }
    print(
        json.dumps({"benchmark": "self_consistency", "problems": count, "samples": given.samples, **figures})
    )


if __name__ == "__main__":
    main()
