"""The lineage says how rows are computed, and a replay elsewhere says so before it compares."""

from __future__ import annotations

from pathlib import Path

import pytest

import raygen
from raygen.config.source import Source
from raygen.engines.echo import EchoEngine
from raygen.json_text import write_json
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.review.verify import verify_run
from tests.fakes.echo_jobs import echo_job

WORDS = "16 rows, 256 keys, bits 0123"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr("raygen.pipeline.run.write_report", lambda store: "report.html")
    monkeypatch.setattr(EchoEngine, "yardstick", WORDS)
    (tmp_path / "in.jsonl").write_bytes(b"".join(write_json({"id": f"r{n}"}) + b"\n" for n in range(3)))
    steps = [{"generate": {"model": "writer", "prompt": "{{ id }}"}}]
    made = echo_job(tmp_path, tmp_path / "out", keep=[], steps=steps)
    source = Source(format="jsonl", uri=str(tmp_path / "in.jsonl"), key="id")
    made = made.model_copy(update={"source": source})
    run_job(made, inline=True)
    return made


def test_the_lineage_has_the_yardstick(job: Job):
    lineages = [row["lineage"] for row in raygen.open_run(job.output_uri).rows()]
    assert {lineage["yardstick"] for lineage in lineages} == {WORDS}


def test_where_nothing_is_other_nothing_is_said(job: Job):
    said: list[str] = []
    found = verify_run(job.output_uri, "100%", said.append)
    assert found.ok
    assert found.notes == []
    assert said == ["replaying 3 rows"]


@pytest.mark.parametrize("other", ["yardstick", "machine", "version"])
def test_another_yardstick_machine_or_number_of_threads_is_said_first(
    job: Job, other: str, monkeypatch: pytest.MonkeyPatch
):
    if other == "machine":
        monkeypatch.setattr("raygen.program.host.machine_name", lambda: "Another CPU, 9 cores")
    else:
        monkeypatch.setattr(EchoEngine, other, "of another kind")
    said: list[str] = []
    found = verify_run(job.output_uri, "100%", said.append)
    assert found.ok
    [note] = found.notes
    assert said == ["replaying 3 rows", note]
    assert note.startswith("generated with ")
    assert WORDS in note.partition("replayed with")[0]
    assert ("Another CPU" if other == "machine" else "of another kind") in note.partition("replayed with")[2]
    assert note.endswith(": bits may differ")
