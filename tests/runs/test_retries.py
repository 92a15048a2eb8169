"""Retries: a child run of the failed rows, and the merged view of a run with its retries."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import raygen
from raygen.errors import CorruptDataError, KeyNotFoundError, RunConflictError, UserError
from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import RunResult, run_job
from raygen.program.job import Job
from raygen.program.resolve import pinned, resolve_models
from raygen.runs.commit import read_data
from raygen.runs.manifest import Manifest, finish
from raygen.runs.plan import Plan, pin
from raygen.runs.retries import plan_retry, read_merged, retry_prefixes
from raygen.storage import open_store
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import a_job_record, a_plan, outcomes, put_chunk

LENGTHS = [1, 20, 3, 40, 5, 6]  # words of the prompts; two rows a chunk


def finished(plan: Plan, statuses: list[str]) -> MemoryStore:
    store = MemoryStore()
    pin(store, plan)
    finish(store, plan, [put_chunk(store, plan, chunk, each)[0] for chunk, each in enumerate(statuses)])
    return store


def add_retry(store: MemoryStore, number: int, chunks: dict[int, str], done: bool = True) -> None:
    """Add a retry that mended these chunks."""
    child = store.child(f"retries/{number:04d}")
    plan = a_plan(3, run_id=f"retry{number}", only={chunk: [0] for chunk in chunks})
    pin(child, plan)
    commits = [put_chunk(child, plan, chunk, each, mark=f"#{number}")[0] for chunk, each in chunks.items()]
    if done:
        finish(child, plan, commits)


def places(store: MemoryStore) -> list[str]:
    return [where.uri_of("").removeprefix("memory://store") for where, _ in read_merged(store).chunks]


def test_a_run_without_retries_is_itself() -> None:
    store = finished(a_plan(3), ["aaa", "faf", "rrr"])
    merged = read_merged(store)
    assert merged.retries == 0
    assert merged.manifest == Manifest.load(store)
    assert merged.rows == {"total": 9, "accepted": 4, "rejected": 3, "failed": 2}
    assert [table.num_rows for table in merged.tables()] == [3, 3, 3]


def test_an_unfinished_run_has_no_view() -> None:
    store = MemoryStore()
    pin(store, a_plan())
    with pytest.raises(KeyNotFoundError):
        read_merged(store)


def test_the_newest_finished_retry_counts_chunk_by_chunk() -> None:
    store = finished(a_plan(3), ["ffa", "aaa", "aff"])
    add_retry(store, 1, {0: "faa", 2: "aff"})
    add_retry(store, 2, {0: "aaa"})
    add_retry(store, 3, {2: "aaa"}, done=False)
    assert retry_prefixes(store) == ["retries/0001/", "retries/0002/", "retries/0003/"]
    assert places(store) == ["/retries/0002", "", "/retries/0001"]
    merged = read_merged(store)
    assert merged.retries == 2
    assert merged.rows == {"total": 9, "accepted": 7, "rejected": 0, "failed": 2}
    assert next(merged.tables()).equals(outcomes(0, "aaa", "#2"))


def test_records_of_two_runs_make_no_view() -> None:
    store = finished(a_plan(3), ["aaa"] * 3)
    store.put("plan.json", a_plan(3, run_id="other").dump())
    with pytest.raises(CorruptDataError, match="not of one run"):
        read_merged(store)
    store = finished(a_plan(3), ["ffa", "aaa", "aff"])
    add_retry(store, 1, {0: "aaa"})
    store.child("retries/0001").put("plan.json", a_plan(3).dump())
    with pytest.raises(CorruptDataError, match=r"retries/0001/manifest\.json"):
        read_merged(store)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Six rows, of which the first engine finds two too long."""
    lines = [f'{{"id": "r{n}", "text": "{" ".join(["w"] * length)}"}}\n' for n, length in enumerate(LENGTHS)]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    return Job.model_validate(
        {
            "name": "job",
            "source": {"format": "jsonl", "uri": str(tmp_path / "rows.jsonl"), "key": "id"},
            "models": {"m": {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 10}}},
            "steps": [{"generate": {"model": "m", "prompt": "{{ text }}"}}],
            "sink": {"chunk_rows": 2},
            "output": str(tmp_path / "run"),
        }
    )


@pytest.fixture
def retry(job: Job, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunResult]:
    """Run the job; then each call retries it with these overrides."""
    monkeypatch.setattr("raygen.reports.summary.report_data", lambda store: None)
    monkeypatch.setattr("raygen.reports.run.render_report", lambda data: "<html>")
    run_job(job, inline=True)

    def again(*overrides: str) -> RunResult:
        return retry_run(job.output_uri, overrides, inline=True, display=None, say=lambda line: None)

    return again


def statuses(job: Job) -> list[str]:
    table = raygen.open_run(job.output_uri).to_arrow()
    assert table.column("row_id").to_pylist() == [f"r{n}" for n in range(len(LENGTHS))]
    return [status[0] for status in table.column("status").to_pylist()]


def test_a_retry_and_its_retry_mend_what_they_can(job: Job, retry: Callable[..., RunResult]) -> None:
    assert statuses(job) == ["a", "f", "a", "f", "a", "a"]
    untouched = raygen.open_run(job.output_uri).to_arrow().take([0, 2, 4, 5])
    retry("models.m.options.context_tokens=25")
    assert statuses(job) == ["a", "a", "a", "f", "a", "a"]
    result = retry("models.m.options.context_tokens=50")
    assert statuses(job) == ["a"] * 6
    assert result.rows == {"total": 6, "accepted": 6, "rejected": 0, "failed": 0}
    assert raygen.open_run(job.output_uri).to_arrow().take([0, 2, 4, 5]).equals(untouched)
    store = open_store(job.output_uri)
    assert Plan.load(store.child("retries/0001")).only == {0: [1], 1: [1]}
    assert Plan.load(store.child("retries/0002")).only == {1: [1]}
    for where, commit in read_merged(store).chunks[:2]:
        assert (commit.rows, commit.reread) == (2, 1)
        assert read_data(where, commit).num_rows == 2


def test_nothing_failed_nothing_to_retry(job: Job, retry: Callable[..., RunResult]) -> None:
    retry("models.m.options.context_tokens=50")
    models = pinned(resolve_models(job))
    assert plan_retry(open_store(job.output_uri), job.record(), models) is None
    assert retry_prefixes(open_store(job.output_uri)) == ["retries/0001/"]


def test_an_unfinished_run_is_not_retried() -> None:
    store = MemoryStore()
    pin(store, a_plan())
    with pytest.raises(UserError, match="finish it with `raygen run`"):
        plan_retry(store, a_job_record(), {})


def test_an_unfinished_retry_goes_on(job: Job, retry: Callable[..., RunResult]) -> None:
    store, models = open_store(job.output_uri), pinned(resolve_models(job))
    changed = job.model_dump()
    changed["models"]["m"]["options"]["context_tokens"] = 50
    mended = Job.model_validate(changed)
    child, plan = plan_retry(store, mended.record(), models) or pytest.fail("rows have failed")
    pin(child, plan)
    again, same = plan_retry(store, mended.record(), models) or pytest.fail("it is unfinished")
    assert (again.uri, same) == (child.uri, plan)
    retry("models.m.options.context_tokens=50")
    assert statuses(job) == ["a"] * 6
    assert Manifest.load(child).run_id == plan.run_id


def test_an_unfinished_retry_does_not_go_on_as_another(job: Job, retry: Callable[..., RunResult]) -> None:
    """Else one retry would hold the outcomes of two jobs."""
    store, models = open_store(job.output_uri), pinned(resolve_models(job))
    child, plan = plan_retry(store, job.record(), models) or pytest.fail("rows have failed")
    pin(child, plan)
    with pytest.raises(RunConflictError, match=r"prompt was .* Finish this retry as it began"):
        retry("steps.0.generate.prompt=Shorter")
    with pytest.raises(RunConflictError, match="weights were echo:-, now sha256:0") as caught:
        plan_retry(store, job.record(), {"m": {"ref": None, "digest": "sha256:0"}})
    place = str(caught.value).partition("remove ")[2].removesuffix(" and retry anew")
    shutil.rmtree(place)
    assert retry("models.m.options.context_tokens=50").rows["failed"] == 0
    assert statuses(job) == ["a"] * 6


def test_a_retry_on_another_input_is_refused_and_leaves_nothing(
    job: Job, retry: Callable[..., RunResult]
) -> None:
    """Else the refused retry, with its own settings, would be in the way of the next."""
    rows = Path(job.source.uris[0])
    as_it_was = rows.read_text()
    for change, words in (
        (lambda: rows.write_text(as_it_was + "\n"), "has changed"),
        (rows.unlink, "is gone"),
    ):
        change()
        with pytest.raises(
            RunConflictError, match=f"{words} since .*bring the old one back.* --reuse"
        ) as caught:
            retry()
        assert str(caught.value).endswith(f"raygen run JOB --output NEW --reuse {job.output_uri}")
        assert not (Path(job.output_uri) / "retries").exists()
    rows.write_text(as_it_was)
    assert retry("models.m.options.context_tokens=50").rows["failed"] == 0


def test_corrupt_data_is_not_retried(job: Job, retry: Callable[..., RunResult]) -> None:
    store = open_store(job.output_uri)
    commit = Manifest.load(store).chunks[0]
    store.put(commit.data, b"garbage")
    with pytest.raises(CorruptDataError, match=commit.data):
        plan_retry(store, job.record(), pinned(resolve_models(job)))
