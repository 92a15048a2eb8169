"""Preparing a run: everything that can be refused is refused here, and the plan is pinned, before any work starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from raygen.data.sources import open_source
from raygen.data.sources.exact import JSON_TEXT
from raygen.errors import KeyNotFoundError
from raygen.messages import Say
from raygen.models.resolved import ResolvedModel
from raygen.program.asks import check_asks
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.program.resolve import as_planned, dated, pinned, resolve_models
from raygen.runs.commit import Commit
from raygen.runs.manifest import MANIFEST_KEY
from raygen.runs.overlap import Overlap
from raygen.runs.plan import PLAN_KEY, Plan, check_inputs, check_resume, listed, new_plan, pin
from raygen.runs.retries import plan_retry, read_merged
from raygen.runs.reuse import Reuse, find_reuse
from raygen.storage import Store, open_store


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to be worked on: everything that can be refused has been checked."""

    store: Store
    job: Job
    plan: Plan
    models: dict[str, ResolvedModel]
    resumed: bool
    carried: dict[int, tuple[Store, Commit]]
    reuse: Reuse | None = None
    overlap: Overlap | None = None  # with the run that is reused, where its chunks are others
    standing: tuple[tuple[Store, Commit], ...] = ()  # a retry: all chunks of the run that it mends


def plan_job(
    job: Job,
    models: dict[str, ResolvedModel],
    say: Say = lambda line: None,
    program: Program | None = None,
) -> Plan:
    """Read the source's metadata and describe the run.

    Args:
        program: the job's, if it is built already.

    Raises:
        UserError: of every kind.
    """
    program = program or Program(job)
    names = listed(job.source)
    source = open_source(job.source).plan(
        job.sink.chunk_rows, program.columns, exact=list(job.kept_as.values())
    )
    kept = program.check_columns(source)
    day = str(job.date or _reused_date(job) or datetime.now(UTC).date())
    models = dated(models, day)
    check_asks(program, models)
    if of_json := [name for name, kind in kept.items() if kind == JSON_TEXT]:
        say(f"keep: no type holds all values as they are, so each is stored as JSON: {', '.join(of_json)}")
    for step in program.steps:
        for line in step.notes(source.columns):
            say(line)
    return new_plan(job.record(), source, pinned(models), kept, names, day)


def _reused_date(job: Job) -> str | None:
    """Return the date of the run whose answers are taken over: on another day no prompt would be the same."""
    if not job.execution.reuse:
        return None
    try:
        return Plan.load(open_store(job.execution.reuse, job.source.storage)).date
    except KeyNotFoundError:  # said when the run is looked for
        return None


def prepare(job: Job, say: Say = lambda line: None) -> Prepared:
    """Check everything that can be checked before work starts, and pin the plan.

    Args:
        say: takes lines for people about what was found while planning.

    Raises:
        UserError: the configuration, the source, a model or the output; nothing was started.
    """
    store = open_store(job.output_uri, job.source.storage)
    program = Program(job)
    program.require()
    models = resolve_models(job)
    try:
        plan = Plan.load(store)
        resumed = True
    except KeyNotFoundError:
        plan = plan_job(job, models, say, program)
        reuse, overlap = _reuse(job, plan, store)
        resumed = not pin(store, plan)
        if resumed:
            plan = Plan.load(store)
    if resumed:
        check_resume(plan, job.record(), pinned(models), store.uri)
        reuse, overlap = (None, None) if store.exists(MANIFEST_KEY) else _reuse(job, plan, store)
    return Prepared(store, job, plan, as_planned(models, plan), resumed, {}, reuse, overlap)


def _reuse(job: Job, plan: Plan, store: Store) -> tuple[Reuse | None, Overlap | None]:
    """Find the run that is to be reused: what the job says now, or else what it said when the run began."""
    uri = job.execution.reuse
    if uri is None:
        uri = plan.job.get("execution", {}).get("reuse")
    return find_reuse(uri, plan, store, job.source) if uri else (None, None)


def prepare_retry(store: Store, job: Job) -> Prepared | None:
    """Prepare a child run of the failed rows; None when no row failed. Raises UserError."""
    Program(job).require()
    models = as_planned(resolve_models(job), Plan.load(store))
    found = plan_retry(store, job.record(), pinned(models))
    if found is None:
        return None
    child, plan = found
    # Before anything is written: a retry that is refused leaves nothing behind.
    if not child.exists(PLAN_KEY):
        check_inputs(plan, job.source, store.uri)
    resumed = not pin(child, plan)
    if resumed:
        plan = Plan.load(child)
        check_resume(plan, job.record(), pinned(models), child.uri)
    standing = tuple(read_merged(store).chunks)
    carried = {place[1].chunk: place for place in standing if place[1].chunk in (plan.only or {})}
    return Prepared(child, job, plan, models, resumed, carried, standing=standing)
