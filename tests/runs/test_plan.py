"""The plan: pinned once, read back alike; a resume that does not fit is refused, and what differs is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raygen.errors import CorruptDataError, RunConflictError, SourceError, UnknownResultError
from raygen.program.job import Job
from raygen.program.prepare import plan_job
from raygen.program.resolve import pinned, resolve_models
from raygen.runs.plan import PLAN_KEY, Plan, check_resume, pin
from raygen.storage.sealed import seal, unseal
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import FailingStore, a_plan, once

UNKNOWN = UnknownResultError("no answer")
MODELS = {"m": {"ref": None, "digest": "echo:-"}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two files of five rows."""
    for name in "ab":
        lines = [f'{{"id": "{name}{n}", "text": "row {n}"}}\n' for n in range(5)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return tmp_path


def job_over(folder: Path, **changes: Any) -> Job:
    job = {
        "name": "job",
        "source": {"format": "jsonl", "uri": f"{folder}/*.jsonl", "key": "id"},
        "models": {"m": {"family": "causal_lm", "engine": "echo"}},
        "steps": [{"generate": {"model": "m", "prompt": "{{ text }}"}}],
        "sink": {"chunk_rows": 2},
    }
    return Job.model_validate({**job, **changes})


def planned(job: Job) -> Plan:
    return plan_job(job, resolve_models(job))


def refusal(plan: Plan, job: Job, models: dict[str, dict[str, Any]] | None = None) -> str:
    with pytest.raises(RunConflictError) as caught:
        check_resume(plan, job.record(), models or pinned(resolve_models(job)), "runs/job")
    message = str(caught.value)
    assert message.startswith("runs/job holds another run of 'job': ")
    assert "\n" not in message
    return message


def test_a_plan_is_read_back_alike() -> None:
    kept = {"topic": pa.string(), "when": pa.timestamp("us", "UTC"), "tags": pa.list_(pa.int8())}
    for plan in (a_plan(3, kept=kept), a_plan(3, only={2: [0, 1], 0: [2]}, parent="digest")):
        store = MemoryStore()
        assert pin(store, plan)
        read = Plan.load(store)
        assert read == plan
        assert read.digest == plan.digest
        assert read.rows == 9
    assert read.todo == [0, 2]


def test_a_real_plan_is_read_back_alike(source: Path) -> None:
    store, plan = MemoryStore(), planned(job_over(source))
    pin(store, plan)
    assert Plan.load(store) == plan
    assert Plan.load(store).digest == plan.digest
    assert [(c.file, c.rows) for c in plan.chunks] == [(0, 2), (0, 2), (0, 1), (1, 2), (1, 2), (1, 1)]


def test_the_first_of_two_drivers_pins_its_plan() -> None:
    store, plan = MemoryStore(), a_plan()
    assert pin(store, plan)
    assert not pin(store, a_plan(run_id="other"))
    assert Plan.load(store) == plan


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("after", [(), ("put_if_absent",)])
def test_an_unknown_result_is_settled_by_reading(times: int, after: tuple[str, ...]) -> None:
    store = FailingStore(once("put_if_absent", UNKNOWN, times), after)
    assert pin(store, a_plan())
    assert Plan.load(store) == a_plan()


def test_an_unknown_result_may_hide_that_another_was_faster() -> None:
    store = FailingStore(once("put_if_absent", UNKNOWN))
    MemoryStore.put(store, PLAN_KEY, a_plan(run_id="other").dump())
    assert not pin(store, a_plan())


def test_an_endless_silence_is_an_error() -> None:
    with pytest.raises(UnknownResultError, match="run again"):
        pin(FailingStore(once("put_if_absent", UNKNOWN, 100)), a_plan())


def test_a_plan_of_another_version_is_refused() -> None:
    store = MemoryStore()
    record = unseal(a_plan().dump(), "plan")
    store.put(PLAN_KEY, seal({**record, "version": 99}))
    with pytest.raises(RunConflictError, match="plan version 99; this raygen reads version 2"):
        Plan.load(store)


def test_a_changed_plan_is_not_read() -> None:
    store = MemoryStore()
    store.put(PLAN_KEY, a_plan().dump().replace(b'"name":"job"', b'"name":"jab"'))
    with pytest.raises(CorruptDataError, match=r"plan\.json"):
        Plan.load(store)


def test_the_same_job_may_go_on(source: Path) -> None:
    job = job_over(source)
    wider = job_over(source, name="other", output="elsewhere", execution={"chunks_in_flight": 9})
    for each in (job, wider):
        check_resume(planned(job), each.record(), MODELS, "runs/job")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 3}, "seed was 0, now 3"),
        ({"sink": {"chunk_rows": 3}}, "sink.chunk_rows was 2, now 3"),
        ({"keep": ["text"]}, 'keep was [], now ["text"]'),
        (
            {
                "steps": [
                    {"generate": {"model": "m", "prompt": "{{ text }}", "sampling": {"temperature": 0.5}}}
                ]
            },
            "steps.0.generate.sampling.temperature was 1.0, now 0.5",
        ),
        (
            {"models": {"m": {"family": "causal_lm", "engine": "echo", "dtype": "float16"}}},
            'models.m.dtype was "float32", now "float16"',
        ),
    ],
)
def test_a_changed_key_is_named(source: Path, change: dict[str, Any], named: str) -> None:
    message = refusal(planned(job_over(source)), job_over(source, **change))
    assert named in message
    takes_over = "Restore the old settings, or take over what still holds: --output ANOTHER --reuse runs/job"
    all_anew = "Choose another --output, or restore the old settings"
    assert message.endswith(all_anew if "seed" in change else takes_over)


def test_many_changes_are_counted(source: Path) -> None:
    models = {f"m{n}": {"family": "causal_lm", "engine": "echo"} for n in range(6)}
    steps = [{"generate": {"model": "m0", "prompt": "{{ text }}"}}]
    message = refusal(planned(job_over(source)), job_over(source, models=models, steps=steps), {})
    assert "; and 4 more" in message
    assert len(message) < 500


def test_other_weights_are_named(source: Path) -> None:
    job = job_over(source)
    message = refusal(planned(job), job, {"m": {"ref": None, "digest": "sha256:0123456789abcdef"}})
    assert "model 'm': weights were echo:-, now sha256:0123456789ab" in message


def test_a_changed_input_is_named(source: Path) -> None:
    plan = planned(job_over(source))
    (source / "b.jsonl").write_text('{"id": "b0", "text": "other"}\n')
    message = refusal(plan, job_over(source))
    assert f"input {source}/b.jsonl has changed" in message
    assert "a.jsonl" not in message


def test_an_input_that_was_only_touched_is_the_same(source: Path) -> None:
    plan = planned(job_over(source))
    os.utime(source / "b.jsonl", (1, 1))
    check_resume(plan, job_over(source).record(), MODELS, "runs/job")


def test_new_and_lost_files_are_named(source: Path) -> None:
    plan = planned(job_over(source))
    (source / "c.jsonl").write_text('{"id": "c0", "text": "new"}\n')
    assert f"file {source}/c.jsonl is new" in refusal(plan, job_over(source))
    (source / "a.jsonl").unlink()
    message = refusal(plan, job_over(source))
    assert f"input {source}/a.jsonl is gone; file {source}/c.jsonl is new" in message


def test_a_file_behind_the_last_row_cannot_be_told_from_a_new_one(source: Path) -> None:
    some = {"source": {"format": "jsonl", "uri": f"{source}/*.jsonl", "key": "id", "max_rows": 3}}
    plan = planned(job_over(source, **some))
    assert len(plan.inputs) == 1
    check_resume(plan, job_over(source, **some).record(), MODELS, "runs/job")
    (source / "c.jsonl").write_text('{"id": "c0", "text": "new"}\n')
    assert "the source matches other files than it did (1 of them are pinned)" in refusal(
        plan, job_over(source, **some)
    )


def test_a_source_that_is_gone_is_named(source: Path) -> None:
    plan = planned(job_over(source))
    for path in source.glob("*.jsonl"):
        path.unlink()
    with pytest.raises(SourceError, match=str(source)):
        check_resume(plan, job_over(source).record(), MODELS, "runs/job")
