"""The program: a job's steps, composed into an async function from a row to an outcome."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raygen.config import Job
from raygen.data.base import SourcePlan
from raygen.engines.base import Engine, GenerateRequest, GenerateResult, TokenLogprob
from raygen.errors import ConfigError, EngineError, RowError, SourceError
from raygen.pipeline.generate import GenerateStep
from raygen.runs.outcome import ACCEPTED, FAILED, OWN_COLUMNS, REJECTED, Outcome

MAX_MESSAGE = 500  # characters of an error message kept in an outcome


@dataclass(slots=True)
class Tally:
    """What a program has done so far. Counted as rows end, so that progress moves within a chunk."""

    rows: dict[str, int] = field(default_factory=lambda: {ACCEPTED: 0, REJECTED: 0, FAILED: 0})
    prompt_tokens: int = 0
    output_tokens: int = 0


class Program:
    """A job's steps, ready to run on any row. Stateless: safe to share between tasks.

    Raises:
        ConfigError: a template does not parse.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.step = GenerateStep(job.steps[0].generate, job.seed, 0)

    @property
    def columns(self) -> list[str]:
        """The input columns that the program reads or passes through."""
        return list(dict.fromkeys([*self.step.columns, *self.job.keep]))

    def check_columns(self, source: SourcePlan) -> dict[str, pa.DataType]:
        """Return the kept columns with their types.

        Raises:
            ConfigError: a template, `keep`, `messages` or `images` names a column that the source lacks, or that is raygen's own.
        """
        uris = ", ".join(self.job.source.uris)
        if not source.columns and not source.ranges:
            raise SourceError(f"source.uri: {uris}: no rows; there is nothing to generate from")
        if not source.columns:
            raise SourceError(
                f"source.uri: {uris}: none of the first rows can be read as {self.job.source.format}"
            )
        wanted = {**self.step.columns, **dict.fromkeys(self.job.keep, "keep")}
        for column, where in wanted.items():
            if column not in source.columns:
                near = difflib.get_close_matches(column, source.columns, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                seen = " in its first rows" if source.sampled else ""
                there = ", ".join(source.columns) or "none"
                raise ConfigError(
                    f"{where}: the source has no column {column!r}{hint}; columns{seen}: {there}"
                )
        for column in self.job.keep:
            if column in OWN_COLUMNS:
                raise ConfigError(
                    f"keep: {column!r} is a column of every outcome; rename it in the source to pass it through"
                )
        return {
            name: pa.string() if pa.types.is_null(source.columns[name]) else source.columns[name]
            for name in dict.fromkeys(self.job.keep)
        }

    async def run(
        self,
        engines: Mapping[str, Engine],
        row_id: str,
        row: Mapping[str, Any],
        unreadable: RowError | None,
        tally: Tally,
    ) -> Outcome:
        """Turn one row into its outcome. Only a broken engine raises (EngineError); everything else is an outcome."""
        kept = {name: row.get(name) for name in self.job.keep}
        try:
            if unreadable is not None:
                raise unreadable
            request = self.step.request(row_id, row)
            result = await self.step.run(engines[self.step.config.model], request)
            outcome = self._judge(row_id, request, result)
            tally.prompt_tokens += result.prompt_tokens
            tally.output_tokens += sum(sample.output_tokens for sample in result.samples)
        except RowError as error:
            outcome = failed(row_id, error.code, error.message, error.step or self.step.name)
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug that one row meets must not take the other rows with it
            outcome = failed(row_id, "internal_error", f"{type(error).__name__}: {error}", self.step.name)
        outcome.kept = kept
        tally.rows[outcome.status] += 1
        return outcome

    def _judge(self, row_id: str, request: GenerateRequest, result: GenerateResult) -> Outcome:
        """A row is accepted when at least one of its samples has text; else it is rejected, with the reason."""
        samples = [
            {
                "index": index,
                "text": sample.text,
                "finish_reason": sample.finish_reason,
                "seed": seed,
                "usage": {"prompt_tokens": result.prompt_tokens, "output_tokens": sample.output_tokens},
                "logprobs": None if sample.logprobs is None else [_logprob(each) for each in sample.logprobs],
            }
            for index, (seed, sample) in enumerate(zip(request.seeds, result.samples, strict=True))
        ]
        reason = None
        if not any(sample.text.strip() for sample in result.samples):
            filtered = any(sample.finish_reason == "content_filter" for sample in result.samples)
            reason = "content_filter" if filtered else "empty_output"
        detail = f"adapter {request.adapter}" if request.adapter else None
        attempt = {"step": self.step.name, "attempt": 0, "decision": reason or "accepted", "detail": detail}
        return Outcome(row_id, REJECTED if reason else ACCEPTED, reason, samples, [attempt])


def failed(row_id: str, code: str, message: str, step: str) -> Outcome:
    """The outcome of a row that could not be done."""
    message = message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 3]}..."
    attempt = {"step": step, "attempt": 0, "decision": "failed", "detail": code}
    return Outcome(row_id, FAILED, code, [], [attempt], {"code": code, "message": message, "step": step})


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    """Return a token as an outcome holds it."""
    names = ("token_id", "token", "logprob")
    top = [dict(zip(names, other, strict=True)) for other in token.top]
    return {"token_id": token.token_id, "token": token.token, "logprob": token.logprob, "top": top}
