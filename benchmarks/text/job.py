"""A job of chat prompts for the torch engine, as files: what the benchmarks of whole runs give to `raygen run`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.text.engine import MODEL
from benchmarks.text.prompts import Prompt


def write_job(
    folder: Path,
    name: str,
    prompts: Sequence[Prompt],
    sampling: dict[str, Any],
    *,
    samples: int = 1,
    dtype: str = "float32",
    chunk_rows: int = 8,
) -> Path:
    """Write NAME.parquet, the prompts, and NAME.yaml, the job; returns the job's path."""
    ids = [f"row-{number:04d}" for number in range(len(prompts))]
    messages = [json.dumps(prompt.chat()) for prompt in prompts]
    source = folder / f"{name}.parquet"
    pq.write_table(pa.table({"id": ids, "messages": messages}), source)
    step = {"model": "writer", "messages": "messages", "samples": samples, "sampling": sampling}
    job = {
        "name": name,
        "source": {"format": "parquet", "uri": str(source), "key": "id"},
        "models": {"writer": {"family": "causal_lm", "engine": "torch", "ref": MODEL, "dtype": dtype}},
        "steps": [{"generate": step}],
        "sink": {"chunk_rows": chunk_rows},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(job))
    return path
