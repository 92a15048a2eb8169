"""What a run's report shows: plain data, gathered by `summary` and laid out by `run` and `steps`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raygen.reports.plots.timeline import Point
from raygen.usage import Usage

if TYPE_CHECKING:
    from raygen.metrics.attribution import Attribution


@dataclass(frozen=True)
class Rows:
    """Counts of rows. Those of `total` that are neither accepted, rejected nor failed have no outcome yet."""

    total: int
    accepted: int = 0
    rejected: int = 0
    failed: int = 0

    @property
    def outcomes(self) -> int:
        return self.accepted + self.rejected + self.failed

    @property
    def missing(self) -> int:
        return self.total - self.outcomes


@dataclass(frozen=True)
class Chunks:
    total: int
    committed: int
    recomputed: int = 0  # generated more than once, because an attempt was lost


@dataclass(frozen=True)
class ErrorCount:
    """How many rows failed with `code` in `step`, and one of them."""

    code: str
    step: str | None
    count: int
    example_row_id: str
    example_message: str


@dataclass(frozen=True)
class SampleRow:
    """One row as it is shown: its input beside what was generated from it."""

    row_id: str
    status: str  # accepted | rejected | failed
    reason: str | None
    input: dict[str, Any]  # bytes of a picture are shown as one, other bytes as their size
    prompt: str | None = None
    outputs: Sequence[tuple[str | None, str | None, int | None]] = ()  # text, finish reason, seed
    beside: Sequence[
        Sequence[tuple[str, str]]
    ] = ()  # of each output: what came beside the text, and its words
    error: tuple[str, str] | None = None  # code, message
    # Samples put aside on the way: number, step that made it, text, what was found.
    discarded: Sequence[tuple[int, str, str | None, str | None]] = ()


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


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that a report says. What comes from rows or models may be hostile: the page shows it as text."""

    title: str
    run_uri: str
    state: str  # one word, such as complete or interrupted
    started: str  # ISO 8601
    finished: str | None
    elapsed_s: float  # seconds of running, pauses between sessions left out: rates are per second of these
    sessions: int  # how many times the run was started or resumed
    rows: Rows
    chunks: Chunks
    usage: Usage
    calls: dict[str, int] = field(default_factory=dict)  # to engines: reused, computed
    throughput: Sequence[
        Point
    ] = ()  # seconds since the start, rows done, amount of the unit that leads in `usage`, occupancy 0..1
    engine: dict[str, float] = field(default_factory=dict)  # figures of the engines, over all sessions
    errors: Sequence[ErrorCount] = ()
    reasons: dict[str, int] = field(default_factory=dict)  # rejected rows by reason
    lengths: Sequence[int] = ()  # output tokens of a sample of the generated samples
    finish_reasons: dict[str, int] = field(default_factory=dict)  # generated samples by finish reason
    samples: Sequence[SampleRow] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    models: Sequence[dict[str, Any]] = ()  # name, ref, digest, adapter, engine, engine_version, dtype
    job_yaml: str = ""
    notes: Sequence[str] = ()
    steps: StepReport | None = None  # of a program of more than one step
