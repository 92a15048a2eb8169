"""Export formats: raygen's own and another package's; one that nobody writes is refused before anything is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.review.exports import EXPORTS, ExportFormat
from tests.fakes.echo_jobs import echo_job

THEIRS = """
from raygen import ExportFormat


class IdsOnly(ExportFormat):
    suffix = ".ids"

    def encode(self, table):
        return "\\n".join(table.column("row_id").to_pylist()).encode()
"""


@pytest.fixture
def run(tmp_path: Path) -> str:
    rows = {"id": ["a", "b"], "text": ["x", "y"], "topic": ["t", "t"]}
    pq.write_table(pa.table(rows), tmp_path / "in.parquet")
    return run_job(echo_job(tmp_path / "in.parquet", tmp_path / "run"), inline=True).uri


def test_each_of_raygens_own_is_one() -> None:
    for name in EXPORTS.own:
        assert issubclass(EXPORTS.load(name), ExportFormat)


def test_another_packages_writes_its_own_files(
    run: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_exports.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    done = cli("export", run, "--format", "their_exports:IdsOnly", "--to", tmp_path / "ids")
    assert done.code == 0, done.err
    assert (tmp_path / "ids" / "part-00000.ids").read_text() == "a\nb"


def test_one_that_nobody_writes_is_refused(run: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    refused = cli("export", run, "--format", "xlsx", "--to", tmp_path / "out")
    assert refused.code == 2
    assert (
        "--format: no export format 'xlsx'; export formats: jsonl, openai_batch, parquet, webdataset"
        in refused.err
    )
    assert not (tmp_path / "out").exists()


def test_a_batch_file_gives_the_output_and_error_files_of_a_batch(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    bodies = [{"input": "a"}, {"input": [1, 2]}, {"input": ["b", "c"]}]
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", **body}}
        for n, body in enumerate(bodies)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = {
        "name": "batch",
        "source": {"format": "jsonl", "uri": str(tmp_path / "in.jsonl"), "key": "custom_id"},
        "models": {"m": {"family": "embedder", "engine": "echo"}},
        "steps": [{"answer": {"endpoint": "/v1/embeddings", "model": "m"}}],
        "output": str(tmp_path / "run"),
    }
    run_job(Job.model_validate(job), inline=True)
    out = tmp_path / "out"
    assert cli("export", tmp_path / "run", "--format", "openai_batch", "--to", out).code == 0
    answered, refused = (
        [json.loads(line) for line in (out / f"{kind}-00000.jsonl").read_text().splitlines()]
        for kind in ("output", "errors")
    )
    assert [line["custom_id"] for line in answered] == ["r0", "r2"]
    assert [len(line["response"]["body"]["data"]) for line in answered] == [1, 2]
    assert [line["response"]["status_code"] for line in refused] == [400]
    assert refused[0]["response"]["body"]["error"]["code"] == "token_input_unsupported"


def test_a_run_of_other_steps_is_no_batch(run: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    refused = cli("export", run, "--format", "openai_batch", "--to", tmp_path / "out")
    assert refused.code == 2
    assert "is no answer of the step `answer`" in refused.err
