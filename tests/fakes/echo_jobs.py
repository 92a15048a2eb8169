"""Echo jobs for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raygen.program.job import Job


def echo_job(source: Path | str, output: Path | str, **changes: Any) -> Job:
    """An echo job over a keyed Parquet source; keyword arguments replace top-level keys."""
    job = {
        "name": "echo",
        "source": {"format": "parquet", "uri": str(source), "key": "id"},
        "models": {"writer": {"family": "causal_lm", "engine": "echo"}},
        "steps": [{"generate": {"model": "writer", "prompt": "About: {{ text }}", "samples": 2}}],
        "keep": ["topic"],
        "seed": 7,
        "sink": {"chunk_rows": 16},
        "output": str(output),
    }
    return Job.model_validate({**job, **changes})
