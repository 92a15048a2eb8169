"""A run's report for somebody whose rows they are and who is not its operator: a tenant of a service.

It shows his rows and counts. It says nothing of where the run stands, how the job is written, or what went wrong inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from raygen.reports.data import ReportData, SampleRow, StepReport
from raygen.reports.run import render_report
from raygen.reports.summary import report_data
from raygen.storage import Store

Words = Callable[[str, str], tuple[str, str]]  # code and message of a failed row, as they may be told


def public_report(store: Store, name: str, words: Words) -> bytes:
    """Return the page of a run. Raises StorageError, CorruptDataError; KeyNotFoundError: the run is not whole.

    Args:
        name: what its reader knows it by.
    """
    return render_report(public_data(report_data(store), name, words)).encode("utf-8", "replace")


def public_data(data: ReportData, name: str, words: Words) -> ReportData:
    """Return what may be shown of a report's data."""
    errors = []
    for each in data.errors:
        code, message = words(each.code, each.example_message)
        errors.append(replace(each, code=code, example_message=message))
    return replace(
        data,
        title=name,
        run_uri=name,
        errors=errors,
        samples=[_public(row, words) for row in data.samples],
        steps=None if data.steps is None else _steps(data.steps, words),
        manifest={},
        models=(),
        job_yaml="",
    )


def _public(row: SampleRow, words: Words) -> SampleRow:
    return row if row.error is None else replace(row, error=words(*row.error))


def _steps(steps: StepReport, words: Words) -> StepReport:
    ranked = [replace(each, row=_public(each.row, words)) for each in steps.ranked]
    return replace(steps, ranked=ranked)
