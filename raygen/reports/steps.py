"""Step report: the section of a run's report about the steps of its program, for programs of more than one."""

from __future__ import annotations

from typing import Any

from raygen import formatting as display
from raygen.reports.data import ExplainedVerdict, StepFigures, StepReport
from raygen.reports.page import fold
from raygen.reports.plots import run as plots
from raygen.usage import Usage, unit_of

REASONS = 50  # listed
STRONGEST = 6000  # characters of a premise that are drawn


def step_view(report: StepReport) -> dict[str, Any]:
    """Return what the template shows."""
    from markupsafe import Markup

    bars = [(each.name, each.passed, each.rejected, each.dropped) for each in report.steps]
    rejections = sorted(report.rejections, key=lambda each: (-each.count, each.step or "", each.reason))
    return {
        "report": report,
        "sampled": report.rows_counted < report.rows_total,
        "plot": Markup(plots.steps(bars)) if any(sum(counts) for _, *counts in bars) else "",
        "table": [_line(each, report) for each in report.steps],
        "unit": unit_of(report.usage.lead).label,
        "per_row": _per_row(report.usage, report.accepted_total, report.usage.lead),
        "rejections": [(each, fold(each.finding) if each.finding else None) for each in rejections[:REASONS]],
        "more_rejections": rejections[REASONS:],
        "rejected": sum(each.count for each in rejections),
        "verdicts": [_verdict(each) for each in report.verdicts],
    }


def _line(step: StepFigures, report: StepReport) -> list[str]:
    number, share = display.number, display.share
    return [
        number(step.taken),
        number(step.passed),
        number(step.rejected),
        share(step.passed, step.taken - step.dropped),
        number(step.rows_ended),
        share(step.rows_left, report.rows_counted),
        _per_row(step.made, report.accepted_counted, report.usage.lead),
    ]


def _per_row(usage: Usage, rows: int, unit: str) -> str:
    return unit_of(unit).amount(round(usage[unit] / rows, 2)) if rows else "–"


def _verdict(verdict: ExplainedVerdict) -> dict[str, Any]:
    from raygen.metrics.attribution import HYPOTHESIS, PREMISE, largest_of, level, spans

    found = verdict.attribution
    largest = largest_of(found)
    parts = []
    for part in (PREMISE, HYPOTHESIS):
        drawn, length = [], 0
        for text, score in spans(found, part):
            if length >= STRONGEST:
                drawn.append(("…", 0, ""))
                break
            length += len(text)
            drawn.append((text[:STRONGEST], level(score, largest), "" if score is None else f"{score:+.3f}"))
        parts.append((part.capitalize(), drawn))
    return {"verdict": verdict, "found": found, "parts": parts}
