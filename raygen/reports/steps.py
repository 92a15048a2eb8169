"""Step report: the section of a run's report about the steps of its program, for programs of more than one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raygen import formatting as display
from raygen.reports.page import fold
from raygen.reports.plots import run as plots
from raygen.usage import Usage, unit_of

if TYPE_CHECKING:
    from raygen.metrics.attribution import Attribution
    from raygen.reports.run import SampleRow

REASONS = 50  # listed
STRONGEST = 6000  # characters of a premise that are drawn


@dataclass(frozen=True)
class StepFigures:
    """What one step did, in the rows that were counted."""

    name: str
    verb: str
    taken: int  # samples that came in, or that it made
    passed: int  # of a refinement: made, and never rejected afterwards
    rejected: int
    dropped: int = 0  # not selected
    rows_ended: int = 0  # rows that came no further, without an accepted sample
    rows_left: int = 0  # rows that went on, or are done
    made: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class Rejection:
    """How many rows were rejected by a step for a reason, and one of them."""

    step: str | None
    reason: str
    count: int
    example_row_id: str
    finding: str | None


@dataclass(frozen=True)
class RankedRow:
    what: str  # highest | median | lowest
    score: float
    row: SampleRow


@dataclass(frozen=True)
class ExplainedVerdict:
    """A verdict of entailment, and which words it came from."""

    row_id: str
    step: str
    decision: str
    attribution: Attribution


@dataclass(frozen=True, kw_only=True)
class StepReport:
    steps: Sequence[StepFigures]
    rows_counted: int
    rows_total: int
    accepted_counted: int
    accepted_total: int = 0
    usage: Usage = field(default_factory=Usage)  # of the whole run
    reused: bool = False  # whether calls of another run were: their samples were not made again
    rejections: Sequence[Rejection] = ()  # of the whole run
    score: str | None = None
    scored: int = 0  # accepted rows that have the score, of those counted
    ranked: Sequence[RankedRow] = ()
    verdicts: Sequence[ExplainedVerdict] = ()
    notes: Sequence[str] = ()


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
