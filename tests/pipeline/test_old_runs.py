"""Runs of earlier versions: one whose outcomes have schema 3 is read, resumed, verified, retried and reused as any other.

`old_run_3.tar.xz` is such a run as it was written: echo models, 12 rows in 2 chunks, of which 5 were accepted, 5 rejected
and 2 failed; and its input, which stood in a bucket.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.program.job import Job
from raygen.reports.summary import write_report
from raygen.runs.outcome import SCHEMA_VERSION, outcome_schema
from raygen.storage import open_store
from tests.fakes.fault_s3 import FaultS3

RUN = Path(__file__).with_name("old_run_3.tar.xz")


@pytest.fixture(scope="module")
def bucket() -> Iterator[FaultS3]:
    with FaultS3() as server:
        yield server


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: FaultS3) -> Path:
    """The directory of the finished run; its input is where it was."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
    with tarfile.open(RUN) as archive:
        archive.extractall(tmp_path, filter="data")
    run = tmp_path / "old_run_3"
    open_store("s3://bucket").put("rows.jsonl", (run / "rows.jsonl").read_bytes())
    (run / "rows.jsonl").unlink()
    return run


@pytest.fixture
def job(old: Path, tmp_path: Path) -> Path:
    """The run's job, as a file."""
    written = json.loads((old / "plan.json").read_bytes())["job"]
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps({**written, "output": str(old)}))
    return path


def interrupted(run: Path) -> Path:
    """The same run before its second chunk was committed."""
    (run / "manifest.json").unlink()
    for left in (*run.glob("commits/00000001*"), *run.glob("data/00000001*")):
        left.unlink()
    return run


def texts(run: Path) -> dict[str, list[str]]:
    return {
        row["row_id"]: [each["text"] for each in (*row["samples"], *row["discarded"])]
        for row in raygen.open_run(str(run)).to_arrow().to_pylist()
    }


def test_the_run_is_what_this_test_is_about(old: Path) -> None:
    written = [pq.read_table(path) for path in sorted(old.glob("data/*.parquet"))]
    assert {each["schema_version"] for table in written for each in table["lineage"].to_pylist()} == {3}
    assert "reasoning" not in str(written[0].schema)
    assert SCHEMA_VERSION > 3


def test_it_is_read_in_the_schema_of_today(old: Path) -> None:
    run = raygen.open_run(str(old))
    table = run.to_arrow()
    assert run.counts == {"total": 12, "accepted": 5, "rejected": 5, "failed": 2}
    assert table.schema.equals(outcome_schema(run.plan.kept))
    assert table.num_rows == 12
    assert {each["schema_version"] for each in table["lineage"].to_pylist()} == {3}
    samples = [each for row in table.to_pylist() for each in (*row["samples"], *row["discarded"])]
    assert all(each["reasoning"] is None and each["tool_calls"] is None for each in samples)
    assert all(len(each["text"]) == 64 and each["finish_reason"] == "stop" for each in samples)
    lazy = run.dataset().to_table(filter=pc.field("status") == "accepted")
    assert lazy.equals(table.filter(pc.field("status") == "accepted"))


def test_it_is_sound_and_told_again(cli: Callable[..., Any], old: Path) -> None:
    verified = cli("verify", old, "--replay", "100%")
    assert (verified.code, "0 differ" in verified.out) == (0, True), verified
    shown = cli("show", old, "-n", "12")
    assert shown.code == 0
    assert "p5  failed (prompt_too_long)" in shown.out
    traced = cli("trace", old, "p2", "--json")
    assert traced.code == 0
    assert json.loads(traced.out)["notes"] == []
    assert all(each["proven"] for step in json.loads(traced.out)["steps"] for each in step["prompts"])
    write_report(open_store(str(old)))
    assert "not_entailed" in (old / "report.html").read_text()


@pytest.mark.parametrize("form", ["jsonl", "parquet", "webdataset"])
def test_it_is_exported(cli: Callable[..., Any], old: Path, tmp_path: Path, form: str) -> None:
    done = cli("export", old, "--format", form, "--to", tmp_path / "out")
    assert (done.code, "12" in done.out) == (0, True), done


def test_its_failed_rows_are_tried_again(cli: Callable[..., Any], old: Path) -> None:
    before = texts(old)
    done = cli(
        "retry", old, "--errors-only", "--inline", "-q", "--set", "models.writer.options.context_tokens=90"
    )
    assert done.code == 3, done  # one line is still broken
    run = raygen.open_run(str(old))
    assert run.counts["failed"] == 1
    versions = {row["row_id"]: row["lineage"]["schema_version"] for row in run.to_arrow().to_pylist()}
    assert versions["p5"] == SCHEMA_VERSION
    assert versions["p0"] == 3
    assert {k: v for k, v in texts(old).items() if k != "p5"} == {
        k: v for k, v in before.items() if k != "p5"
    }
    assert cli("verify", old).code == 0


def test_it_is_resumed_to_the_same_outcomes(cli: Callable[..., Any], old: Path, job: Path) -> None:
    before = texts(old)
    done = cli("run", job, "--inline", "-q", "--output", interrupted(old))
    assert (done.code, "1 of 2 chunks are committed" in done.err) == (3, True), done
    assert texts(old) == before
    table = raygen.open_run(str(old)).to_arrow()
    assert [each["schema_version"] for each in table["lineage"].to_pylist()] == [3] * 6 + [SCHEMA_VERSION] * 6
    lazy = raygen.open_run(str(old)).dataset().to_table()
    assert lazy.equals(table)
    assert cli("verify", old, "--replay", "100%").code == 0


def test_another_run_takes_its_answers_over(
    cli: Callable[..., Any], old: Path, job: Path, tmp_path: Path
) -> None:
    shutil.copy(job, tmp_path / "edited.yaml")
    new = tmp_path / "new"
    done = cli("run", tmp_path / "edited.yaml", "--inline", "-q", "--output", new, "--reuse", old)
    assert done.code == 3, done
    assert texts(new) == texts(old)
    calls = raygen.open_run(str(new)).manifest.calls
    assert calls == {"reused": 35, "computed": 0}
    assert Job.model_validate(raygen.open_run(str(new)).plan.job).name == "old"
