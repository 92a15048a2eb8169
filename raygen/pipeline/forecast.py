"""The forecast: what a run would be, measured on a few of its rows without writing anything."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from raygen.data.sources import open_source
from raygen.formatting import count, duration
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.budget import Budget
from raygen.program.host import EngineHost
from raygen.program.job import Job
from raygen.program.prepare import plan_job, prepare
from raygen.program.program import Program
from raygen.program.resolve import as_planned, resolve_models
from raygen.runs.outcome import FAILED
from raygen.runs.plan import Plan
from raygen.usage import Usage, unit_of


@dataclass(frozen=True)
class Forecast:
    name: str
    rows: int
    chunks: int
    inputs: int
    input_bytes: int
    sampled_rows: int
    sampled_failed: int
    start_s: float | None  # to load the models
    rows_per_s: float | None  # of one engine with as many rows at once as were sampled: a lower bound
    usage: Usage | None  # forecast for the whole run
    elapsed_s: float | None
    budget_rows: int | None  # how many rows the given budget reaches
    budget: str | None
    pinned: str | None
    first_error: str | None = None  # of the rows sampled: code and message

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        found = [
            f"{self.name}: {count(self.rows, 'row')} in {count(self.chunks, 'chunk')}, "
            f"from {count(self.inputs, 'input')} ({count(self.input_bytes, 'byte')})"
        ]
        if self.rows_per_s and self.elapsed_s is not None and self.usage is not None:
            found += [
                f"measured on {count(self.sampled_rows, 'row')} with one engine ({self.sampled_failed} failed; "
                f"models loaded in {self.start_s:.1f} s):",
                f"  about {self.usage.words()}",
                f"  about {duration(self.elapsed_s, whole=True)} ({self.rows_per_s:,.2f} rows/s; fuller engines and more "
                "replicas help)",
            ]
        if self.first_error is not None:
            found.append("  the first that failed: " + " ".join(self.first_error.split()))
        if self.budget_rows is not None:
            found.append(f"  {self.budget} reach about {count(self.budget_rows, 'row')}")
        if self.pinned:
            found.append(f"pinned in {self.pinned}")
        return found


def forecast(
    job: Job,
    sample: int,
    *,
    budget: Budget | None = None,
    pin_it: bool = False,
) -> Forecast:
    """Plan a job and measure `sample` of its rows, spread over the source. Raises UserError, EngineError."""
    if pin_it:
        run = prepare(job)
        plan, models, pinned = run.plan, run.models, run.store.uri
    else:
        models = resolve_models(job)
        plan, pinned = plan_job(job, models), None
        models = as_planned(models, plan)
    rows_per_s = usage = elapsed = start_s = budget_rows = reached = None
    sampled, failed, first_error = 0, 0, None
    if sample and plan.rows:
        rows = _spread_rows(job, plan, sample)
        sampled = rows.num_rows
        start_s, rate_s, spent, failed, first_error = _measure(job, plan, models, rows)
        rows_per_s = sampled / rate_s
        usage = spent.times(plan.rows / sampled)
        elapsed = start_s + plan.rows / rows_per_s
        if budget is not None and (reach := _reach(budget, usage, plan.rows, start_s, rows_per_s)):
            budget_rows, reached = min(reach)
    return Forecast(
        job.name, plan.rows, len(plan.chunks), len(plan.inputs), sum(each.size_bytes for each in plan.inputs),
        sampled, failed, start_s, rows_per_s, usage, elapsed, budget_rows, reached, pinned, first_error,
    )  # fmt: skip


def _reach(
    budget: Budget, usage: Usage, rows: int, start_s: float, rows_per_s: float
) -> list[tuple[int, str]]:
    """Say how many rows each cap of a budget reaches; `usage` is that of all rows."""
    found = []
    for name, most in budget.amounts.items():
        spent = usage.budgeted(name) / rows
        found.append((min(rows, int(most / spent)) if spent else rows, unit_of(name).words(most)))
    if budget.seconds is not None:
        reached = int(max(0.0, budget.seconds - start_s) * rows_per_s)
        found.append((min(rows, reached), f"{budget.seconds:g} seconds"))
    return found


def _spread_rows(job: Job, plan: Plan, most: int) -> pa.Table:
    """Take `most` rows from chunks spread over the whole source."""
    step = max(1, len(plan.chunks) // most)
    ranges = plan.chunks[::step][:most]
    each = -(-most // len(ranges))
    tables = open_source(job.source).read(plan.inputs, ranges, Program(job).columns)
    found = []
    for table in tables:
        stride = max(1, table.num_rows // each)
        found.append(table.take(list(range(0, table.num_rows, stride))[:each]))
    rows = pa.concat_tables(found, promote_options="permissive")
    return rows.slice(0, most)


def _measure(
    job: Job, plan: Plan, models: dict[str, ResolvedModel], rows: pa.Table
) -> tuple[float, float, Usage, int, str | None]:
    host = EngineHost(job, models, plan.config_hash, plan.kept)
    began_s = time.monotonic()
    host.start()
    started_s = time.monotonic()
    try:
        result = host.run_chunk(rows)
        elapsed_s = max(1e-6, time.monotonic() - started_s)
        errors = result.outcomes.column("error").drop_null()
        error = errors[0].as_py() if len(errors) else None
        first = f"{error['code']}: {error['message']}" if error else None
        return started_s - began_s, elapsed_s, result.usage, host.tally.rows[FAILED], first
    finally:
        host.close()
