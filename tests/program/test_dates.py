"""The date of a run: pinned in its plan, shown by its models' chat templates on whatever day a row is generated."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import raygen
from raygen.errors import ConfigError, RunConflictError
from raygen.pipeline.run import run_job
from raygen.program import prepare as preparing
from raygen.program.job import Job
from raygen.program.prepare import plan_job, prepare
from raygen.program.resolve import as_planned, identity_of, pinned, resolve_models
from raygen.review.trace import trace_row
from raygen.review.verify import verify_run
from raygen.runs.plan import PLAN_KEY, Plan
from raygen.storage import open_store
from tests.fakes.tiny_llama import save_tiny
from tests.review.traced_run import traced_job

DATED = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
GENERATE: dict[str, Any] = {"model": "writer", "prompt": "{{ text }}", "sampling": {"max_tokens": 8}}


class Calendar(datetime):
    """A clock that a test sets."""

    today_is = "2026-11-29"

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime.fromisoformat(f"{cls.today_is}T23:59:00+00:00")


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> type[Calendar]:
    monkeypatch.setattr(Calendar, "today_is", "2026-11-29")
    monkeypatch.setattr(preparing, "datetime", Calendar)
    return Calendar


def job_of(folder: Path, template: str = DATED, run: str = "run", **changes: Any) -> Job:
    if not (folder / "model").exists():
        save_tiny(folder / "model", chat_template=template)
    options = {"threads": 1}
    writer = {"family": "causal_lm", "engine": "torch", "ref": str(folder / "model"), "options": options}
    changes = {"sink": {"chunk_rows": 2}, **changes}
    job = traced_job(folder, [{"generate": GENERATE}], 4, models={"writer": writer}, **changes)
    return job.model_copy(update={"output": str(folder / run)})


def answers(run: str) -> list[str]:
    return [row["samples"][0]["text"] for row in raygen.open_run(run).to_arrow().to_pylist()]


def test_a_run_is_told_again_on_another_day(tmp_path: Path, calendar: type[Calendar]) -> None:
    run = run_job(job_of(tmp_path), inline=True).uri
    plan = Plan.load(open_store(run))
    assert plan.date == plan.models["writer"]["date"] == "2026-11-29"
    [lineage] = {
        row["lineage"]["models"][0]["engine_version"] for row in raygen.open_run(run).to_arrow().to_pylist()
    }
    assert lineage.endswith("prompts dated 2026-11-29")
    calendar.today_is = "2026-11-30"
    assert verify_run(run, "100%").ok
    told = trace_row(run, "p1")
    assert told["steps"][0]["prompts"][0]["proven"] is True
    # So is a run that takes over its answers; nothing is generated anew.
    again = run_job(job_of(tmp_path, run="again", execution={"reuse": run}), inline=True)
    assert again.calls == {"reused": 4, "computed": 0}
    assert Plan.load(open_store(again.uri)).date == "2026-11-29"
    # A run of that day's own has other prompts.
    other = run_job(job_of(tmp_path, run="other"), inline=True)
    assert answers(other.uri) != answers(run) == answers(again.uri)


def test_a_resumed_run_goes_on_with_the_date_that_it_began_with(
    tmp_path: Path, calendar: type[Calendar]
) -> None:
    begun = prepare(job_of(tmp_path))
    calendar.today_is = "2026-12-01"
    resumed = prepare(job_of(tmp_path))
    assert resumed.resumed
    assert resumed.models == begun.models
    assert begun.models["writer"].date == "2026-11-29"


def test_the_job_may_say_the_date(tmp_path: Path, calendar: type[Calendar]) -> None:
    job = job_of(tmp_path, date="2024-02-29")
    assert job.identity()["date"] == "2024-02-29"
    assert prepare(job).models["writer"].date == "2024-02-29"
    with pytest.raises(RunConflictError, match='date was "2024-02-29", now null'):
        prepare(job_of(tmp_path))
    assert "date" not in job_of(tmp_path).identity()


def test_calls_of_another_date_are_other_calls(tmp_path: Path, calendar: type[Calendar]) -> None:
    job = job_of(tmp_path)
    models = resolve_models(job)
    names = []
    for today in ("2026-11-29", "2026-11-30"):
        calendar.today_is = today
        plan = plan_job(job, models)
        names.append(identity_of(as_planned(models, plan)["writer"], frozenset()))
    assert [each["date"] for each in names] == ["2026-11-29", "2026-11-30"]


def test_a_template_that_asks_for_no_date_does_not_depend_on_it(
    tmp_path: Path, calendar: type[Calendar]
) -> None:
    job = job_of(tmp_path, "{{ messages[0].content }}")
    models = resolve_models(job)
    plans = []
    for today in ("2026-11-29", "2026-11-30"):
        calendar.today_is = today
        plans.append(plan_job(job, models))
    assert [plan.date for plan in plans] == ["2026-11-29", "2026-11-30"]
    assert set(plans[0].models["writer"]) == {"ref", "digest"}
    first, second = (identity_of(as_planned(models, plan)["writer"], frozenset()) for plan in plans)
    assert first == second


def test_a_plan_of_a_former_version_is_of_the_day_when_it_was_made(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    models = resolve_models(job)
    created_s = datetime(2025, 5, 17, 12, tzinfo=UTC).timestamp()
    former = replace(plan_job(job, models), date=None, models=pinned(models), created_s=created_s)
    store = open_store(job.output_uri)
    store.put(PLAN_KEY, former.dump())
    assert b'"date"' not in former.dump()
    assert Plan.load(store).digest == former.digest
    run = prepare(job)
    assert run.resumed
    assert run.models["writer"].date == "2025-05-17"
    # Its calls keep the names that they have in the chunks that are done.
    assert identity_of(run.models["writer"], frozenset()) == identity_of(models["writer"], frozenset())
    assert pinned(run.models) == pinned(models)


def test_a_date_that_no_template_prints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="date: no chat template of this job's models prints one"):
        prepare(job_of(tmp_path, "{{ messages[0].content }}", date="2024-02-29"))
