"""Self-consistency beside greedy decoding, on held-out word problems.

    python -m benchmarks.quality.self_consistency --learn 480

The model is SmolLM2 with an adapter, because by itself it solves few problems: one from jobs/arithmetic_star.py
(`--adapter DIR`), or one that learns here from `--learn` written solutions of the training stories. Three ways, whole jobs
run inline on the same problems of the held-out stories:

- greedy: one solution
- vote: `--samples` solutions, and the commonest answer
- checked: the same, but solutions that contradict themselves do not vote (`raygen.datasets.equations:consistent`, which does
  not see the problem)

Printed: exact answers of each, and how many problems each vote and greedy solved alone, with a two-sided sign test.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import raygen
from raygen.datasets.arithmetic import TEST_STORIES, TRAIN_STORIES, make_problems, write_problems
from raygen.improve.course import PLAIN, SMOLLM2, Course, recipe_of
from raygen.improve.solutions import split_solutions
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.storage import open_store

ANSWER = r"Answer: *(-?\d+)"
WAYS = ("greedy", "vote", "checked")


def learn(given: argparse.Namespace, folder: Path) -> str:
    """Train an adapter on written solutions, as a round of jobs/arithmetic_star.py does; returns its directory."""
    from raygen.train.run import train

    made = make_problems(given.learn, TRAIN_STORIES, "learn", given.seed, given.largest).to_pylist()
    rows = [
        {
            "solution_id": row["problem_id"], "problem_id": row["problem_id"], "problem": row["problem"],
            "solution": f"{row['equations']} Answer: {row['answer']}",
        }
        for row in made
    ]  # fmt: skip
    for name, part in zip(("learn", "validate"), split_solutions(rows), strict=True):
        (folder / "written").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(part), folder / "written" / f"{name}.parquet")
    course = Course(output=str(folder), seed=given.seed, train={"epochs": 1})
    result = train(recipe_of(course, open_store(str(folder)), "written"), say=say)
    if result.model is None:
        raise SystemExit("the training was interrupted")
    return result.model


def job_of(given: argparse.Namespace, folder: Path, way: str, adapter: str | None) -> Job:
    spec: dict[str, Any] = {"family": "causal_lm", "engine": "torch", "ref": SMOLLM2, "dtype": given.dtype}
    samples, temperature = (1, 0.0) if way == "greedy" else (given.samples, given.temperature)
    step: dict[str, Any] = {
        "model": "solver", **PLAIN, "samples": samples, "answer": {"pattern": ANSWER},
        "sampling": {"temperature": temperature, "max_tokens": 56},
    }  # fmt: skip
    if adapter:
        spec["adapters"], step["adapter"] = {"tuned": str(Path(adapter).resolve())}, "tuned"
    check = {"verify": {"python": {"function": "raygen.datasets.equations:consistent"}}}
    steps = [{"generate": step}, *([check] if way == "checked" else []), {"select": {"majority": True}}]
    return Job.model_validate(
        {
            "name": way, "models": {"solver": spec}, "steps": steps, "keep": ["answer"], "seed": given.seed,
            "source": {"format": "parquet", "uri": str(folder / "problems.parquet"), "key": "problem_id"},
            "sink": {"chunk_rows": 16}, "output": str(folder / way),
        }
    )  # fmt: skip


def solved(job: Job) -> dict[str, bool]:
    """Run a job; say of every problem whether its answer is right. A problem without an answer is not solved."""
    run_job(job, inline=True, say=say)
    rows = raygen.open_run(job.output_uri).to_arrow().to_pylist()
    return {
        row["row_id"]: row["status"] == "accepted" and int(row["samples"][0]["answer"]) == row["answer"]
        for row in rows
    }


def compared(one: dict[str, bool], other: dict[str, bool]) -> dict[str, Any]:
    """Return how many problems each of two ways solved alone, and how likely that is if both were equal (sign test)."""
    alone = [
        sum(first[row] and not second[row] for row in one) for first, second in ((one, other), (other, one))
    ]
    total = sum(alone)
    chance = min(1.0, 2 * sum(math.comb(total, n) for n in range(min(alone) + 1)) / 2**total)
    return {"alone": alone[0], "greedy_alone": alone[1], "chance": chance}


def say(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--adapter", help="a LoRA adapter's directory")
    model.add_argument("--learn", type=int, help="written solutions that an adapter learns from, first")
    parser.add_argument("--problems", type=int, default=240)
    parser.add_argument("--largest", type=int, default=20, help="number in a problem or its solution")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = make_problems(given.problems, TEST_STORIES, "vote", given.seed, given.largest)
        write_problems(folder / "problems.parquet", problems)
        adapter = learn(given, folder) if given.learn else given.adapter
        found = {way: solved(job_of(given, folder, way, adapter)) for way in WAYS}
    count = len(found["greedy"])
    figures: dict[str, Any] = {way: sum(each.values()) for way, each in found.items()}
    for way in WAYS[1:]:
        figures[f"{way}_beside_greedy"] = beside = compared(found[way], found["greedy"])
        print(
            f"greedy {figures['greedy']} of {count}, {way} {figures[way]}; solved by the {way} way alone: {beside['alone']}, "
            f"by greedy alone: {beside['greedy_alone']}; chance of that if both were equal: {beside['chance']:.2g}"
        )
    print(
        json.dumps({"benchmark": "self_consistency", "problems": count, "samples": given.samples, **figures})
    )


if __name__ == "__main__":
    main()
