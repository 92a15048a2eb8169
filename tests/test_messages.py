"""Messages: lines as log records, which say in fields what they are about."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.messages import sayer
from raygen.pipeline.run import run_job
from tests.fakes.echo_jobs import echo_job


def test_a_line_is_a_record_with_ids(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "raygen")
    sayer(run="runs/a", batch="batch-7")("100% of %s is done")
    [record] = caplog.records
    assert (record.name, record.getMessage()) == ("raygen", "100% of %s is done")
    assert (record.run, record.batch) == ("runs/a", "batch-7")  # type: ignore[attr-defined]


def test_what_a_run_says_is_logged_and_holds_no_prompt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raygen")
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["a secret", "another"], "topic": ["t", "t"]}), source)
    job = echo_job(source, tmp_path / "run")
    run_job(job, inline=True)
    run_job(job, inline=True)
    assert [record.getMessage() for record in caplog.records][-1].endswith("is finished; nothing to do")
    assert {record.run for record in caplog.records} == {str(tmp_path / "run")}  # type: ignore[attr-defined]
    assert "secret" not in caplog.text
