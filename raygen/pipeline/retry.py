"""Retry a finished run's failed rows: the command's own work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raygen.config.files import override, validate
from raygen.errors import UserError
from raygen.messages import Say, sayer
from raygen.pipeline.monitor import Progress
from raygen.pipeline.result import RunResult
from raygen.pipeline.run import drive
from raygen.program.job import Job
from raygen.program.prepare import prepare_retry
from raygen.reports.summary import write_report
from raygen.runs.duplicates import deduplication_of
from raygen.runs.enough import acceptance
from raygen.runs.retries import read_merged
from raygen.runs.status import planned
from raygen.storage import open_store
from raygen.terminal import Display


def retry_run(
    run_uri: str,
    overrides: Sequence[str],
    *,
    inline: bool = False,
    display: Display[Progress] | None = None,
    say: Say | None = None,
) -> RunResult:
    """Generate the failed rows again, as a child run; the result counts the merged run.

    Args:
        overrides: `PATH=VALUE` each: what the job says for these rows instead.
        inline: work in this process instead of on Ray.
        say: takes lines for people; None: they are logged (messages.py).

    Raises:
        UserError: no run, an unfinished one, or overrides that change which rows there are.
    """
    say = say or sayer(run=run_uri)
    store = open_store(run_uri)
    plan = planned(store)
    for each in overrides:
        if each.split("=")[0].split(".")[0] in ("source", "sink", "keep", "seed", "date", "accept"):
            raise UserError(
                f"--set {each}: a retry keeps the run's source, sink, keep, seed, date and accept; "
                "change models, steps or execution"
            )
    # What failed once often fails again: a retry is stopped for it only if it says so itself.
    execution = {key: value for key, value in plan.job.get("execution", {}).items() if key != "max_failed"}
    job = validate(override({**plan.job, "execution": execution}, overrides), Job, run_uri)
    if job.deduplicate != deduplication_of(plan):
        raise UserError(
            "--set steps: a retry keeps the run's `deduplicate` step: duplicates are found over all rows, the others' too"
        )
    run = prepare_retry(store, job)
    if run is None:
        say("no row failed; nothing to retry")
        merged = read_merged(store)
        # The report may be older than the last retry, if that one's driver died right after its manifest.
        return RunResult(store.uri, "finished", merged.rows, merged.usage, None, write_report(store))
    result = drive(run, inline=inline, display=display, say=say)
    if result.state != "finished":
        return result
    merged, tolerance = read_merged(store), job.execution.tolerance
    return replace(
        result,
        uri=store.uri,
        rows=merged.rows,
        usage=merged.usage,
        report=write_report(store),
        calls=merged.calls,
        acceptance=acceptance(merged.plan, merged.rows, finished=True),
        too_many_failed=tolerance is not None
        and tolerance.exceeded(merged.rows["failed"], merged.rows["total"], merged.rows["total"]),
    )
