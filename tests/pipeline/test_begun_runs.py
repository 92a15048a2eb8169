"""Runs that an earlier version began, and was killed in: today's code finishes them to the outcomes that it would have written.

`old_run_4.tar.xz` was written by the version whose outcomes have schema 4, with echo models and 25 rows in 13 chunks:
`unfinished` was killed with some chunks committed, and one whose outcomes were written and not yet committed; `retried` is
the same run, finished, with a retry that was killed after its first chunk. `expected.json` tells what that version made of
both when it was let: status, reason, texts and decisions of every row.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import raygen
from raygen.program.job import Job
from raygen.storage import open_store
from tests.fakes.fault_s3 import FaultS3

RUNS = Path(__file__).with_name("old_run_4.tar.xz")
LONGER_CONTEXT = "models.writer.options.context_tokens=900"  # what the retry began with


@pytest.fixture(scope="module")
def bucket() -> Iterator[FaultS3]:
    with FaultS3() as server:
        yield server


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: FaultS3) -> Path:
    """The folder of both runs; their input is where it was."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
    with tarfile.open(RUNS) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "old_run_4"
    open_store("s3://bucket").put("rows-4.jsonl", (folder / "rows.jsonl").read_bytes())
    return folder


@pytest.fixture
def finish(cli: Callable[..., Any], old: Path) -> Callable[[], Path]:
    """Run the job of the unfinished run again, as its user would."""

    def run() -> Path:
        where = old / "unfinished"
        written = json.loads((where / "plan.json").read_bytes())["job"]
        job = old / "job.yaml"
        job.write_text(json.dumps({**written, "output": str(where)}))
        done = cli("run", job, "--inline", "-q")
        assert done.code == 3, done  # one line is broken, and two prompts are too long
        assert "7 of 13 chunks are committed" in done.err
        return where

    return run


def told(run: Path) -> dict[str, Any]:
    """Return the outcomes as `expected.json` has them."""
    return {
        row["row_id"]: [
            row["status"],
            row["reason"],
            [each["text"] for each in (*row["samples"], *row["discarded"])],
            [f"{each['step']}: {each['decision']}" for each in row["attempts"]],
        ]
        for row in raygen.open_run(str(run)).to_arrow().to_pylist()
    }


def expected(old: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((old / "expected.json").read_bytes())[name])


def test_the_runs_are_what_this_test_is_about(old: Path) -> None:
    begun = old / "unfinished"
    assert not (begun / "manifest.json").exists()
    names = [each.name[:8] for each in sorted(begun.glob("commits/*"))]
    assert names == [f"{chunk:08d}" for chunk in (0, 1, 2, 3, 4, 5, 8)]
    assert len(list(begun.glob("data/00000007-*"))) == 1
    plan = json.loads((begun / "plan.json").read_bytes())["job"]
    assert plan["accept"] == {"max_attempts_per_row": 3}
    assert "deduplicate" in plan["steps"][-1]
    child = old / "retried/retries/0001"
    assert (old / "retried/manifest.json").exists()
    assert not (child / "manifest.json").exists()
    assert len(list(child.glob("commits/*"))) == 1


def test_a_job_of_then_has_the_identity_that_it_had(old: Path) -> None:
    plan = json.loads((old / "unfinished/plan.json").read_bytes())
    job = Job.model_validate(plan["job"])
    assert job.identity() == plan["identity"]
    assert job.config_hash() == plan["config_hash"]


def test_an_unfinished_run_is_told(cli: Callable[..., Any], old: Path) -> None:
    status = cli("status", old / "unfinished")
    assert (status.code, "7 of 13 committed" in status.out) == (0, True), status


def test_a_begun_run_is_finished_to_the_outcomes_it_would_have_had(
    cli: Callable[..., Any], finish: Callable[[], Path], old: Path
) -> None:
    run = finish()
    assert told(run) == expected(old, "unfinished")
    assert (run / "report.html").exists()
    verified = cli("verify", run, "--replay", "100%")
    assert (verified.code, "0 differ" in verified.out) == (0, True), verified
    for form in ("jsonl", "parquet", "webdataset"):
        exported = cli("export", run, "--format", form, "--to", old / form)
        assert exported.code == 0, exported
    assert cli("show", run, "--status", "failed").out.count("failed (") == 3
    assert cli("collect", run, "--grace", "0s").code == 0
    assert told(run) == expected(old, "unfinished")


def test_its_usage_is_that_of_all_commits_whichever_version_wrote_them(
    cli: Callable[..., Any], finish: Callable[[], Path], old: Path
) -> None:
    run = finish()
    commits = [json.loads(path.read_bytes()) for path in sorted((run / "commits").iterdir())]
    former, now = (
        [c["tokens"] for c in commits if "tokens" in c],
        [c["usage"] for c in commits if "usage" in c],
    )
    assert (len(former), len(now)) == (7, 6)
    manifest = json.loads((run / "manifest.json").read_bytes())
    output = sum(c["output"] for c in former) + sum(c.get("output_tokens", 0) for c in now)
    read = sum(c["prompt"] for c in former) + sum(c.get("prompt_tokens", 0) for c in now)
    assert (manifest["usage"]["output_tokens"], manifest["usage"]["prompt_tokens"]) == (output, read)
    assert "tokens" not in manifest
    assert json.loads(cli("status", run, "--json").out)["usage"] == manifest["usage"]
    assert f"{output:,} output" in cli("status", run).out
    assert ">Output tokens<" in (run / "report.html").read_text()


def test_a_run_begun_then_and_finished_now_is_retried(
    cli: Callable[..., Any], finish: Callable[[], Path], old: Path
) -> None:
    run = finish()
    retried = cli("retry", run, "--errors-only", "--inline", "-q", "--set", LONGER_CONTEXT)
    assert retried.code == 3, retried  # the broken line
    assert told(run) == expected(old, "retried")
    assert cli("verify", run).code == 0


def test_a_begun_retry_is_finished(cli: Callable[..., Any], old: Path) -> None:
    run = old / "retried"
    assert told(run) == expected(old, "unfinished")
    (begun,) = (run / "retries/0001/commits").iterdir()
    committed = begun.read_bytes()
    done = cli("retry", run, "--errors-only", "--inline", "-q", "--set", LONGER_CONTEXT)
    assert done.code == 3, done
    assert begun.read_bytes() == committed
    assert told(run) == expected(old, "retried")
    assert not (run / "retries/0002").exists()
    assert cli("verify", run).code == 0
    status = cli("status", run)
    assert "11 accepted, 13 rejected, 1 failed" in status.out, status


def test_a_begun_retry_refuses_other_settings(cli: Callable[..., Any], old: Path) -> None:
    done = cli("retry", old / "retried", "--errors-only", "--inline", "-q")
    assert (done.code, "Finish this retry as it began" in done.err) == (2, True), done
