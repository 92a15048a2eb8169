"""Runs over numbered rows: their source, their job file, and what the oracle expects of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.exactly_once.oracle import Expected, Findings, Row, judge_commits, judge_finished
from tests.ray.processes import end_tree, of_session

SEED = 11
# Two models: one writes, one judges.
STEPS = [
    {"generate": {"model": "writer", "prompt": "About: {{ text }}", "samples": 2}},
    {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.3}}},
    {"refine": {"prompt": "{{ text }} | {{ sample }} | {{ finding }}", "budget": 2}},
]


def table(rows: int) -> pa.Table:
    numbers = range(rows)
    return pa.table(
        {
            "id": [f"p{n}" for n in numbers],
            "text": [f"passage {n} has some words" for n in numbers],
            "topic": [f"t{n % 5}" for n in numbers],
        }
    )


def expected(rows: int, chunk_rows: int) -> Expected:
    every = [Row(f"p{n}", f"About: passage {n} has some words", False) for n in range(rows)]
    chunks = tuple(tuple(every[start : start + chunk_rows]) for start in range(0, rows, chunk_rows))
    return Expected(chunks, SEED, samples=1)


def write_job(folder: Path, rows: int, chunk_rows: int, **changes: Any) -> Path:
    """Write a source and a job over it; keyword arguments replace top-level keys. The run is `folder/run`."""
    pq.write_table(table(rows), folder / "rows.parquet")
    job = {
        "name": "case",
        "source": {"format": "parquet", "uri": str(folder / "rows.parquet"), "key": "id"},
        "models": {"writer": {"family": "causal_lm", "engine": "echo"}},
        "steps": [{"generate": {"model": "writer", "prompt": "About: {{ text }}"}}],
        "seed": SEED,
        "sink": {"chunk_rows": chunk_rows},
        "output": str(folder / "run"),
        **changes,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def two_models(
    folder: Path, rows: int, chunk_rows: int, writer: dict[str, Any], nli: dict[str, Any], **changes: Any
) -> Path:
    models = {
        "writer": {"family": "causal_lm", "engine": "echo", **writer},
        "nli": {"family": "classifier", "engine": "echo", **nli},
    }
    return write_job(folder, rows, chunk_rows, **{"models": models, "steps": STEPS, **changes})


def pooled(**options: Any) -> dict[str, Any]:
    return {"placement": "pooled", "options": options}


def echo_model(**options: Any) -> dict[str, Any]:
    return {"writer": {"family": "causal_lm", "engine": "echo", "options": options}}


def raygen(*arguments: object) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "raygen", *map(str, arguments)]


def alone() -> dict[str, str]:
    """The environment of a command that starts a Ray of its own, as a user's would be."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command as a terminal starts it: in a session of its own, so that what it leaves behind can be found."""
    process = subprocess.Popen(
        command,
        env=alone(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        end_tree(process.pid)
        for orphan in of_session(process.pid):
            orphan.kill()


def objects_of(run: Path) -> dict[str, bytes]:
    """All objects of a run on disk that is not being written to."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def manifest_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "manifest.json").read_bytes())
    return found


def commits_of(run: Path) -> int:
    return len(list((run / "commits").glob("*.json")))


def assert_exact(objects: Mapping[str, bytes], wanted: Expected) -> None:
    """Every row once, with the right text; nothing lost, doubled, dangling or visible without its commit."""
    judged: list[Findings] = [judge_finished(objects, wanted), judge_commits(objects, "", wanted)[0]]
    for findings in judged:
        assert not findings.broken, findings
