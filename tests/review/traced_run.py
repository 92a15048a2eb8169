"""A run of echo models through several steps, some rows refined, accepted and rejected: something to explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raygen.pipeline.run import run_job
from raygen.program.job import Job
from tests.fakes.echo_jobs import echo_job

ECHO = {"family": "causal_lm", "engine": "echo"}
NLI = {"family": "classifier", "engine": "echo"}
STEPS: list[dict[str, Any]] = [
    {
        "generate": {
            "model": "writer",
            "system": "You know {{ topic }}",
            "prompt": "About: {{ text }}",
            "samples": 2,
            "answer": {"pattern": "^(..)"},
            "into": "said",
        }
    },
    {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.45}}},
    {"refine": {"prompt": "{{ text }} | {{ sample }} | {{ finding }}", "budget": 2}},
    {"name": "judge", "score": {"entailment": {"model": "nli", "premise": "{{ text }}"}}},
    {"select": {"best": "judge"}},
    {"generate": {"model": "writer", "prompt": "{{ said }} goes on"}},
]


def traced_job(folder: Path, steps: list[dict[str, Any]] = STEPS, rows: int = 40, **changes: Any) -> Job:
    """Write a source and return the job over it."""
    texts = [f"passage {n} has some words" for n in range(rows)]
    table = {"id": [f"p{n}" for n in range(rows)], "text": texts, "topic": [f"t{n % 5}" for n in range(rows)]}
    pq.write_table(pa.table(table), folder / "in.parquet")
    models = {"writer": ECHO, "nli": NLI}
    changes = {"models": models, "steps": steps, **changes}
    return echo_job(folder / "in.parquet", folder / "run", **changes)


def traced_run(folder: Path, *arguments: Any, **changes: Any) -> str:
    """Return the URI of a finished run."""
    return run_job(traced_job(folder, *arguments, **changes), inline=True).uri
