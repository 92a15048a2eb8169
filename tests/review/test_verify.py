"""Verify: what a retry made with other settings is no promise of the run's, and is left out of a replay."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import run_job
from raygen.review.verify import verify_run
from tests.fakes.echo_jobs import echo_job


def test_rows_that_a_retry_made_with_other_settings_are_not_replayed(tmp_path: Path) -> None:
    texts = ["short", "much too long a text for it", "short as well"]
    table = pa.table({"id": ["a", "b", "c"], "text": texts, "topic": ["t"] * 3})
    pq.write_table(table, tmp_path / "in.parquet")
    writer = {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 5}}
    uri = str(tmp_path / "run")
    run_job(echo_job(tmp_path / "in.parquet", uri, models={"writer": writer}), inline=True)
    assert verify_run(uri, replay="100%").notes == []
    setting = ["models.writer.options.context_tokens=100"]
    retry_run(uri, setting, inline=True, display=None, say=lambda line: None)
    found = verify_run(uri, replay="100%")
    assert (found.ok, found.replayed, found.differing) == (True, 2, 0)
    assert found.notes == ["1 row not replayed: a retry made it with other settings"]
