"""Are contradictions in a story caught? `python -m benchmarks.quality.contradictions --judge runs/grounding/model`.

benchmarks/data/planted_contradictions.jsonl has twenty short stories, each with five sentences that contradict it and five that
fit. Every sentence is checked against its story as jobs/consistent_story.yaml does. Printed: how many contradictions
are caught, and how many fitting sentences are taken for one, at several thresholds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from raygen.config.model import ModelSpec
from raygen.engines.base import Engine
from raygen.engines.encoder.engine import EncoderEngine
from raygen.engines.requests import GeneratedSample, GenerateRequest, GenerateResult
from raygen.models.resolved import ResolvedModel
from raygen.program.job import Job
from raygen.program.program import Program, Tally

STORIES = Path(__file__).parent / "planted_contradictions.jsonl"


class Said(Engine):
    """Says its prompt: the sentence to check."""

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        return GenerateResult([GeneratedSample(request.messages[-1]["content"], "stop", 1)], 1)


def job_of(judge: str, threshold: float) -> Job:
    check = {"model": "judge", "of": "sentences", "against": "{{ story }}", "threshold": threshold}
    return Job.model_validate(
        {
            "name": "contradictions", "source": {"format": "jsonl", "uri": str(STORIES)},
            "models": {
                "said": {"family": "causal_lm", "engine": "echo"},
                "judge": {"family": "classifier", "engine": "encoder", "ref": judge},
            },
            "steps": [
                {"generate": {"model": "said", "prompt": "{{ sentence }}"}},
                {"verify": {"consistency": check}},
            ],
        }
    )  # fmt: skip


async def rejected(
    judge: str, thresholds: list[float], rows: list[dict[str, Any]]
) -> dict[float, list[bool]]:
    """Say of every row, at each threshold, whether its sentence is taken for a contradiction."""
    spec = ModelSpec.model_validate({"family": "classifier", "engine": "encoder", "ref": judge})
    engine = EncoderEngine(ResolvedModel("judge", spec, judge, "bench"))
    said = Said(
        ResolvedModel(
            "said", ModelSpec.model_validate({"family": "causal_lm", "engine": "echo"}), None, "said"
        )
    )
    await engine.start()
    found = {}
    for threshold in thresholds:
        program = Program(job_of(judge, threshold))
        asked = [
            program.run({"said": said, "judge": engine}, str(number), row, None, Tally())
            for number, row in enumerate(rows)
        ]
        found[threshold] = [outcome.status == "rejected" for outcome in await asyncio.gather(*asked)]
    await engine.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", default="runs/grounding/model", help="a classifier's directory")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5, 0.8, 0.9])
    given = parser.parse_args()
    stories = [json.loads(line) for line in STORIES.read_text().splitlines()]
    rows = [
        {"story": each["story"], "sentence": sentence, "planted": kind == "contradicting"}
        for each in stories
        for kind in ("contradicting", "fitting")
        for sentence in each[kind]
    ]
    figures = {}
    for threshold, found in asyncio.run(rejected(given.judge, given.thresholds, rows)).items():
        caught = sum(each for each, row in zip(found, rows, strict=True) if row["planted"])
        alarms = sum(each for each, row in zip(found, rows, strict=True) if not row["planted"])
        planted = sum(row["planted"] for row in rows)
        fitting = len(rows) - planted
        print(
            f"threshold {threshold:g}: {caught} of {planted} contradictions caught, {alarms} false alarms in {fitting}"
        )
        figures[f"{threshold:g}"] = {"caught": caught, "false_alarms": alarms}
    print(json.dumps({"benchmark": "contradictions", **figures}))


if __name__ == "__main__":
    main()
