"""A run is planned, pinned and resumed from plain values: a service may do so without a job file."""

from __future__ import annotations

from pathlib import Path

import pytest

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.errors import RunConflictError
from raygen.runs.job_record import JobRecord
from raygen.runs.plan import Plan, check_resume, listed, new_plan, pin
from raygen.storage.sealed import digest_of
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import a_job_record

MODELS = {"m": {"ref": None, "digest": "sha256:0"}}


@pytest.fixture
def record(tmp_path: Path) -> JobRecord:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"id": "p{n}", "text": "t"}}\n' for n in range(5)))
    source = Source.model_validate({"format": "jsonl", "uri": str(path), "key": "id"})
    return a_job_record(source=source, identity={"seed": 7, "prompt": "{{ text }}"})


def plan_of(record: JobRecord) -> Plan:
    source = open_source(record.source).plan(2, ["text"])
    return new_plan(record, source, MODELS, {}, listed(record.source), "2026-11-30")


def test_a_run_is_planned_from_it(record: JobRecord) -> None:
    plan = plan_of(record)
    assert (plan.name, plan.identity, plan.job, plan.attempt_limit_s) == (
        "job",
        record.identity,
        {"seed": 7},
        60.0,
    )
    assert [chunk.rows for chunk in plan.chunks] == [2, 2, 1]
    assert plan.config_hash == digest_of(record.identity)


def test_the_same_record_goes_on(record: JobRecord) -> None:
    store = MemoryStore()
    assert pin(store, plan_of(record))
    assert not pin(store, plan_of(record))
    check_resume(Plan.load(store), record, MODELS, store.uri)


def test_another_identity_is_refused_by_what_differs(record: JobRecord) -> None:
    other = a_job_record(source=record.source, identity={"seed": 8, "prompt": "{{ text }}"})
    with pytest.raises(RunConflictError, match="seed was 7, now 8"):
        check_resume(plan_of(record), other, MODELS, "runs/job")
