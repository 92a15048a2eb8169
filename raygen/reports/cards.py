"""Report cards: rows of a finished run as its report shows them, with their inputs read again, and verdicts taken apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from raygen.data.sources import open_source
from raygen.data.sources.base import ERROR_CODE, ERROR_MESSAGE, rows_of
from raygen.data.text.messages import told_calls
from raygen.errors import RaygenError, RowError
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.program.retell import Judged, Retold, retell
from raygen.reports.data import ExplainedVerdict, SampleRow
from raygen.review.beside import beside, medium
from raygen.review.explain import attributions
from raygen.runs.commit import Commit
from raygen.runs.outcome import outcome_rows
from raygen.runs.retries import Merged
from raygen.steps.checks.entailment import EntailmentCheck
from raygen.steps.inner import HoldingStep
from raygen.steps.row.story import DROPPED, GOES_ON
from raygen.storage import Store

CARDS = {"accepted": 8, "rejected": 4, "failed": 4}
EXPLAINED = 3  # verdicts that are taken apart into words
LARGEST_BYTES = 1_500_000_000  # of a classifier that the driver loads for that


@dataclass(slots=True)
class _Verdict:
    row_id: str
    step: str
    decision: str
    distance: float  # of the probability from the threshold
    judged: Judged


@dataclass(slots=True)
class ReportCards:
    """Rows to show. What is told again on the way is kept for `verdicts`."""

    merged: Merged
    job: Job = field(init=False)
    _program: Program = field(init=False)
    _verdicts: list[_Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.job = Job.model_validate(self.merged.plan.job)
        self._program = Program(self.job)

    def spread(self) -> list[SampleRow]:
        """Return a few rows of every status, from chunks spread over the run."""
        cards: list[SampleRow] = []
        for status, wanted in CARDS.items():
            having = [
                (store, commit) for store, commit in self.merged.chunks if self.merged.counts(commit)[status]
            ]
            step = max(1, len(having) // wanted)
            spread = having[::step]
            each = max(1, -(-wanted // max(1, len(spread))))
            found = itertools.chain.from_iterable(self._some(*place, status, each) for place in spread)
            cards += itertools.islice(found, wanted)
        return cards

    def _some(self, store: Store, commit: Commit, status: str, limit: int) -> Iterator[SampleRow]:
        table = self.merged.read(store, commit)
        statuses = table.column("status").to_pylist()
        chosen = [n for n, each in enumerate(statuses) if each == status]
        yield from self.cards(commit, table, chosen[:: max(1, len(chosen) // limit)][:limit])

    def cards(self, commit: Commit, table: Any, places: Sequence[int]) -> Iterator[SampleRow]:
        """Yield the rows at these places of a chunk, as they are shown."""
        inputs = self._inputs(commit.chunk)
        for place in places:
            row = next(outcome_rows(table.slice(place, 1)))
            yield self._card(row, *(inputs[place] if inputs else ({}, None)))

    def _inputs(self, chunk: int) -> list[tuple[dict[str, Any], RowError | None]]:
        """Read a chunk's rows again, each with why it could not be read; none, if the source is gone or changed."""
        plan = self.merged.plan
        try:
            reader = open_source(self.job.source)
            table = next(iter(reader.read(plan.inputs, [plan.chunks[chunk]], self._program.columns)))
        except (RaygenError, StopIteration):
            return []
        codes, messages = table.column(ERROR_CODE).to_pylist(), table.column(ERROR_MESSAGE).to_pylist()
        errors = [
            code and RowError(code, message or code, "read")
            for code, message in zip(codes, messages, strict=True)
        ]
        return list(zip(rows_of(table, self._program.columns), errors, strict=True))

    def _card(self, row: dict[str, Any], read: dict[str, Any], error: RowError | None) -> SampleRow:
        several = len(self.job.steps) > 1
        told = self._told(row, read, error) if several and read else Retold()
        outputs = [(_shown(s), s["finish_reason"], s["seed"]) for s in row["samples"]]
        failure = (row["error"]["code"], row["error"]["message"]) if row["error"] else None
        return SampleRow(
            row["row_id"],
            row["status"],
            row["reason"],
            read,
            self._prompt(row, read, told),
            outputs,
            [beside(sample) for sample in row["samples"]],
            failure,
            _discarded(row) if several else (),
        )

    def _told(self, row: dict[str, Any], read: dict[str, Any], error: RowError | None) -> Retold:
        """Tell a row's story again, and note its verdicts of entailment; a row of a retry's job is left alone."""
        if row["lineage"]["config_hash"] != self.merged.plan.config_hash:
            return Retold()
        try:
            told = retell(self.job, self.merged.plan.models, row, read, error)
        except RaygenError:
            return Retold()
        thresholds = {
            step.name: step.inner.config.threshold
            for step in self._program.steps
            if isinstance(step, HoldingStep) and isinstance(step.inner, EntailmentCheck)
        }
        for place, judged in told.judged.items():
            attempt = row["attempts"][place]
            chance = (attempt["scores"] or {}).get(judged.label)
            if attempt["step"] in thresholds and chance is not None:
                distance = abs(chance - thresholds[attempt["step"]])
                verdict = _Verdict(row["row_id"], attempt["step"], attempt["decision"], distance, judged)
                self._verdicts.append(verdict)
        return told

    def _prompt(self, row: dict[str, Any], read: dict[str, Any], told: Retold) -> str | None:
        """Return what the shown sample is the answer to; without a story, what the first step asks."""
        shown = {row["samples"][0]["number"]} if row["samples"] else set()
        for prompt in told.prompts:
            if prompt.proven and shown.intersection(prompt.samples):
                return _as_sent(prompt.messages)
        names, begin = {**read, **row["variables"]}, self._program.first
        try:
            first = begin.request(row["row_id"], names) if read and begin is not None else None
        except RowError:
            return None
        return None if first is None else _as_sent(first.messages)

    def verdicts(self) -> tuple[list[ExplainedVerdict], list[str]]:
        """Take a few of the verdicts that were met apart into words: one that rejected, one that passed, the closest call.

        Returns:
            Those that can be, and why others cannot.
        """
        rejected = [each for each in self._verdicts if each.decision not in (*GOES_ON, DROPPED)]
        passed = [each for each in self._verdicts if each.decision in GOES_ON]
        chosen = [*rejected[:1], *passed[:1]]
        others = [each for each in self._verdicts if each not in chosen]
        chosen += sorted(others, key=lambda each: each.distance)[: EXPLAINED - len(chosen)]
        if not chosen:
            return [], []
        try:
            asked = [each.judged for each in chosen]
            found, notes = attributions(self.job, self.merged.plan.models, asked, LARGEST_BYTES)
        except Exception as error:  # noqa: BLE001 - a picture less, whatever a model class does under captum's hooks
            return [], [f"verdicts could not be taken apart: {type(error).__name__}: {error}"]
        return [
            ExplainedVerdict(each.row_id, each.step, each.decision, attribution)
            for each, attribution in zip(chosen, found, strict=True)
            if attribution is not None
        ], [f"Words behind verdicts are not shown: {note}." for note in notes]


def _as_sent(messages: Sequence[dict[str, Any]]) -> str:
    """Return a prompt as one text; of several messages, each with its role before it."""
    texts = [
        "\n".join(filter(None, [_text_of(message.get("content")), *told_calls(message)]))
        for message in messages
    ]
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(
        f"{message.get('role')}: {text}" for message, text in zip(messages, texts, strict=True)
    )


def _text_of(content: Any) -> str:
    """Return a message's content; its pictures are among the inputs."""
    if not isinstance(content, list):
        return "" if content is None else str(content)
    parts = (part if isinstance(part, dict) else {"text": part} for part in content)
    return "\n".join(str(part.get("text", f"[{part.get('type', 'part')}]")) for part in parts)


def _discarded(row: dict[str, Any]) -> list[tuple[int, str, str | None, str | None]]:
    findings = {
        each["sample"]: each["detail"] or each["decision"]
        for each in row["attempts"]
        if each["sample"] is not None and each["decision"] not in GOES_ON
    }
    return [(s["number"], s["step"], _shown(s), findings.get(s["number"])) for s in row["discarded"]]


def _shown(sample: dict[str, Any]) -> str | None:
    """Return a sample's text; of a medium what it is."""
    text: str | None = sample["text"]
    return medium(sample) if sample["media_type"] is not None else text
