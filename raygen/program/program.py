"""The program: a job's steps, composed into an async function from a row to an outcome."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raygen.data.media.pictures import holds_pictures
from raygen.data.paths import names_in
from raygen.data.sources.base import SourcePlan
from raygen.data.sources.partitions import partitions_of
from raygen.engines import engine_facts
from raygen.engines.base import Engine
from raygen.errors import (
    ConfigError,
    EngineError,
    RowError,
    SourceError,
    StorageError,
    UnavailableError,
    told,
)
from raygen.program.job import Job
from raygen.runs.outcome import ACCEPTED, FAILED, OWN_COLUMNS, REJECTED, Outcome
from raygen.steps.base import Step
from raygen.steps.context import Context
from raygen.steps.generate import GenerateStep
from raygen.steps.refine import RefineStep
from raygen.steps.row.calls import Calls
from raygen.steps.row.record import Record
from raygen.steps.row.story import Story
from raygen.steps.spec import step_names
from raygen.usage import Usage

MAX_MESSAGE = 500  # characters of an error message kept in an outcome


@dataclass(slots=True)
class Tally:
    """What a program has done so far. Counted as rows end, so that progress moves within a chunk."""

    rows: dict[str, int] = field(default_factory=lambda: {ACCEPTED: 0, REJECTED: 0, FAILED: 0})
    usage: Usage = field(default_factory=Usage)
    calls: int = 0  # to engines
    reused: int = 0  # calls that a record answered


class Program:
    """A job's steps, ready to run on any row. Stateless: safe to share between tasks.

    Args:
        identities: of each model, what decides its answers; part of the keys of calls.

    Raises:
        ConfigError: a template does not parse; a function cannot be imported.
    """

    def __init__(self, job: Job, identities: Mapping[str, Any] | None = None) -> None:
        self.job = job
        self.steps = _steps_of(job.context)
        self.sealing = [step for step in self.steps if step.seals]
        self._identities = identities or {}
        self.tags = {name: spec.tags for name, spec in job.models.items() if spec.tags is not None}
        self._attempts = job.accept.max_attempts_per_row if job.accept is not None else 1
        # Where a row without an accepted sample ends: nowhere before the last refinement of these samples.
        self._hopeful = [
            any(isinstance(later, RefineStep) for later in self._same_samples(number))
            for number in range(len(self.steps))
        ]

    @property
    def first(self) -> GenerateStep | None:
        """The first step that asks by a prompt of the job's; others may stand before it."""
        return next((step for step in self.steps if isinstance(step, GenerateStep)), None)

    def _same_samples(self, number: int) -> list[Any]:
        """Return the steps after this one, up to the next that makes new samples."""
        after = self.steps[number + 1 :]
        ends = [n for n, step in enumerate(after) if isinstance(step, GenerateStep)]
        return list(after[: ends[0]] if ends else after)

    @property
    def reads(self) -> dict[str, str]:
        """Columns that the steps read -> the job's key that names them: what no step before writes."""
        found: dict[str, str] = {}
        written: set[str] = set()
        for step in self.steps:
            for column, where in step.columns.items():
                if column not in written:
                    found.setdefault(column, where)
            written |= step.writes
        return found

    def require(self) -> None:
        """Look for what the steps need on this machine. Raises ConfigError: an extra is not installed."""
        for step in self.steps:
            step.require()

    @property
    def columns(self) -> list[str]:
        """The input columns that the program reads or passes through, and paths into them."""
        return list(dict.fromkeys([*self.reads, *self.job.kept_as.values()]))

    def check_columns(self, source: SourcePlan) -> dict[str, pa.DataType]:
        """Return the names under which columns are kept, with their types.

        Raises:
            ConfigError: a template, `keep`, `messages` or `images` names a column that the source lacks and no step before
                writes, or that is raygen's own; a column of `images` holds no bytes; a template prints a column of lists or
                objects; a step writes over a column.
        """
        uris = ", ".join(self.job.source.uris)
        if not source.columns and not source.ranges:
            raise SourceError(f"source.uri: {uris}: no rows; there is nothing to generate from")
        if not source.columns:
            why = f"; the first: {source.first_fault}" if source.first_fault else ""
            raise SourceError(
                f"source.uri: {uris}: none of the first rows can be read as {self.job.source.format}{why}"
            )
        written = {name: step.where for step in self.steps for name in step.writes}
        wanted = {**self.reads, **dict.fromkeys(self.job.kept_as.values(), "keep")}
        for column, where in wanted.items():
            if column not in source.columns:
                folders = dict.fromkeys(name for each in source.inputs for name in partitions_of(each.uri))
                near = difflib.get_close_matches(column, [*names_in(source.columns), *folders, *written], 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                seen = " in its first rows" if source.sampled else ""
                there = ", ".join({**source.columns, **folders}) or "none"
                nor = " and no step before it writes one" if len(self.steps) > 1 and where != "keep" else ""
                raise ConfigError(
                    f"{where}: the source has no column {column!r}{nor}{hint}; columns{seen}: {there}"
                )
        for step in self.steps:
            step.check_columns(source.columns)
            images = step.config.images if isinstance(step, GenerateStep) else ()
            engine = self.job.models[step.config.model].engine if images else ""
            if images and "image" not in engine_facts(engine).inputs:
                raise ConfigError(
                    f"{step.where}.images: engine {engine!r} takes text only; pictures are for endpoints (`openai`)"
                )
            for column in images:
                kind = source.columns.get(column)
                if kind is not None and not holds_pictures(kind):
                    raise ConfigError(
                        f"{step.where}.images: the column {column!r} holds {kind}; pictures are columns of bytes, such as "
                        "a Parquet file or a source of `images` has, of objects {bytes, path}, or of lists of either"
                    )
        for name, where in written.items():
            if name in source.columns:
                raise ConfigError(f"{where}: the source has a column {name!r} already; choose another name")
        for name, column in self.job.kept_as.items():
            if name in OWN_COLUMNS:
                raise ConfigError(
                    f"keep: {name!r} is a column of every outcome; keep it under another name: "
                    f"`keep: {{{column}: source_{name}}}`"
                )
        types = {**source.columns, **source.exact}
        return {
            name: pa.string() if pa.types.is_null(types[column]) else types[column]
            for name, column in self.job.kept_as.items()
        }

    async def run(
        self,
        engines: Mapping[str, Engine],
        row_id: str,
        row: Mapping[str, Any],
        unreadable: RowError | None,
        tally: Tally,
        known: Record | None = None,
    ) -> Outcome:
        """Turn one row into its outcome. Everything is an outcome, but what concerns all rows.

        Args:
            known: what the row has asked before, in another run or before it failed, and was answered.

        Raises:
            EngineError: a model broke. UnavailableError: a served one is busy. StorageError: recorded media cannot be read now.
        """
        calls = Calls(engines, self._identities, usage=tally.usage, known=known, tags=self.tags)
        story = Story(row_id, row)
        step = "read"
        try:
            if unreadable is not None:
                raise unreadable
            while True:
                for number, each in enumerate(self.steps):
                    step = each.name
                    await each.run(story, calls)
                    # Before its first `generate` a row has no samples at all.
                    hopeless = story.drafts and not story.accepted and not self._hopeful[number]
                    if hopeless or story.refused is not None:
                        break
                if story.reason is None or story.attempt + 1 >= self._attempts:
                    break
                story.again()
            outcome = self._outcome(story)
        except RowError as error:
            outcome = self._failed(story, error.code, error.message, error.step or step)
        except (EngineError, StorageError, UnavailableError):
            raise
        # A bug that one row meets must not take the other rows with it; nor must another package's `sys.exit()`.
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
            outcome = self._failed(story, "internal_error", told(error), step)
        outcome.calls = calls.made({each["call"] for each in (*outcome.samples, *outcome.discarded)})
        for sealer in self.sealing:
            try:
                await asyncio.to_thread(sealer.seal, outcome, story)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - what was not looked at must not be kept
                outcome = _unsealed(outcome, sealer.name, error)
                break
        tally.calls += calls.computed
        tally.reused += calls.reused
        tally.rows[outcome.status] += 1
        return outcome

    def _outcome(self, story: Story) -> Outcome:
        """Return a row's outcome: accepted with the samples that are; else rejected with those that were rejected last."""
        reason = story.reason
        samples = story.accepted if reason is None else story.drafts
        discarded = [*story.discarded, *(draft for draft in story.drafts if draft not in samples)]
        return Outcome(
            story.row_id,
            ACCEPTED if reason is None else REJECTED,
            reason,
            [draft.record() for draft in samples],
            story.decisions,
            variables=_texts(story.written()),
            discarded=[draft.record() for draft in sorted(discarded, key=lambda draft: draft.number)],
            fingerprint=story.fingerprint if reason is None else None,
        )

    def _failed(self, story: Story, code: str, message: str, step: str) -> Outcome:
        """Return the outcome of a row that failed. What was done before stays in it."""
        message = message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 3]}..."
        story.decide(step, "failed", detail=code)
        drafts = sorted([*story.discarded, *story.drafts], key=lambda draft: draft.number)
        return Outcome(
            story.row_id,
            FAILED,
            code,
            [],
            story.decisions,
            {"code": code, "message": message, "step": step},
            variables=_texts(story.written()),
            discarded=[draft.record() for draft in drafts],
        )


def _steps_of(context: Context) -> list[Step]:
    """Return a job's steps, ready to run on any row. Raises ConfigError: a template that does not parse."""
    steps: list[Step] = []
    for number, (spec, name) in enumerate(zip(context.steps, step_names(context.steps), strict=True)):
        steps.append(spec.kind(spec.config, name, f"steps.{number}.{spec.verb}", context, steps))
    return steps


def _unsealed(outcome: Outcome, step: str, error: BaseException) -> Outcome:
    """Return the outcome of a row that a step could not seal: with nothing in it that was made or said."""
    code, message = "internal_error", f"{type(error).__name__} when the outcome was sealed"
    if isinstance(error, RowError):
        code, message = error.code, error.message
    return unkept(outcome, code, message, step)


def unkept(outcome: Outcome, code: str, message: str, step: str) -> Outcome:
    """Return the outcome of a row of which nothing may be kept, or nothing can: what was made and said is gone."""
    bare = Story(outcome.row_id, {}, outcome.attempts[-1]["attempt"] if outcome.attempts else 0)
    bare.decide(step, "failed", detail=code)
    error_of: dict[str, str | None] = {"code": code, "message": message, "step": step}
    return Outcome(outcome.row_id, FAILED, code, [], bare.decisions, error_of)


def _texts(variables: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else repr(value) for name, value in variables.items()}
