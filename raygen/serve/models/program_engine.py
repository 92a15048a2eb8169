"""A program as an engine: a job's steps answer one request, over the models of the service that have the job's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from raygen.config.model import ModelSpec
from raygen.engines.base import Engine, EngineStats
from raygen.engines.requests import GeneratedSample, GenerateRequest, GenerateResult
from raygen.errors import ConfigError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.program.job import load_job
from raygen.program.program import Program, Tally
from raygen.program.resolve import identity_of
from raygen.runs.outcome import ACCEPTED, REJECTED, Outcome
from raygen.serve.config import Program as ServedProgram
from raygen.steps.row.calls import in_order
from raygen.usage import OUTPUT_TOKENS, PROMPT_TOKENS

AT_ONCE = 64  # rows that it is worth having under way


class ProgramEngine(Engine):
    """Runs a job's program on the last message of a chat. Every sample is a row of its own, named by its seed.

    What each step did and decided comes with a sample, as its `trace`. A row that ends rejected is an error,
    `program_rejected`; one that fails has the failure's code.

    Args:
        name: as the service offers it.
        engines: of the service's models, by name; they bound what is asked of them.
        models: the same models, resolved.

    Raises:
        ConfigError: the job asks a model that the service does not have, or reads columns that a chat cannot fill.
    """

    families: ClassVar[Mapping[str, frozenset[str]]] = {"causal_lm": frozenset({"generate"})}
    needs_ref = False
    has_weights = False
    takes_sampling = False

    def __init__(
        self,
        name: str,
        served: ServedProgram,
        engines: Mapping[str, Engine],
        models: Mapping[str, ResolvedModel],
    ) -> None:
        where = f"programs.{name}"
        self._job = load_job(Path(served.job))
        if missing := [each for each in self._job.models if each not in engines]:
            raise ConfigError(
                f"{where}: {served.job} asks the model {missing[0]!r}, which the service does not have; "
                f"models: {', '.join(engines)}"
            )
        self._engines = {each: engines[each] for each in self._job.models}
        identities = {
            each: identity_of(models[each], self._engines[each].deciding_options) for each in self._engines
        }
        self._program = Program(self._job, identities)
        self._program.require()
        self._column = _column_of(self._program, served, where)
        if any(step.kind.makes_media(step.config) for step in self._job.steps):
            raise ConfigError(f"{where}: {served.job} renders media, which no chat holds")
        spec = ModelSpec(family="causal_lm", engine="echo")
        self.model = ResolvedModel(f"program:{name}", spec, None, self._job.config_hash())
        self.stats = EngineStats()

    @property
    def capacity(self) -> int:
        return AT_ONCE

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Return one sample for every seed. Raises RowError: rejected, or failed; EngineError, UnavailableError."""
        if request.prompt is not None:
            raise RowError("engine_unsupported", "a program takes a chat, not a prompt as it is")
        row = {self._column: _last_text(request)}
        tally = Tally()
        outcomes = await in_order(
            self._program.run(self._engines, str(seed), row, None, tally) for seed in request.seeds
        )
        samples = [_sample_of(outcome) for outcome in outcomes]
        self.stats.requests += 1
        self.stats.usage += tally.usage
        prompt, output = tally.usage.get(PROMPT_TOKENS, 0), tally.usage.get(OUTPUT_TOKENS, 0)
        samples[-1].output_tokens = int(output)  # of all steps and samples together
        return GenerateResult(samples, int(prompt))


def _column_of(program: Program, served: ServedProgram, where: str) -> str:
    """Return the column that gets the message. Raises ConfigError."""
    columns = program.columns
    if served.column is not None and served.column not in columns:
        raise ConfigError(
            f"{where}.column: the steps of {served.job} read no column {served.column!r}; they read {', '.join(columns)}"
        )
    others = [each for each in columns if each != served.column]
    if served.column is None and len(columns) == 1:
        return columns[0]
    if served.column is None or others:
        what = "several columns" if columns else "no column"
        raise ConfigError(
            f"{where}: the steps of {served.job} read {what} ({', '.join(columns) or '-'}); a chat fills one alone, "
            "which `column` names"
        )
    return served.column


def _last_text(request: GenerateRequest) -> str:
    """Return what the user said last. Raises RowError `invalid_messages`."""
    for message in reversed(request.messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str) and content.strip():
                return content
            parts = content if isinstance(content, list) else []
            texts = [part["text"] for part in parts if isinstance(part, dict) and part.get("type") == "text"]
            if texts and len(texts) == len(parts):
                return "\n".join(texts)
            break
    raise RowError(
        "invalid_messages", "a program answers the last message of the user, which is to be a text"
    )


def _sample_of(outcome: Outcome) -> GeneratedSample:
    trace = [dict(each) for each in outcome.attempts]
    if outcome.status == ACCEPTED:
        best = outcome.samples[0]
        text = best["answer"] if best.get("answer") is not None else best["text"]
        return GeneratedSample(text, best["finish_reason"], 0, reasoning=best.get("reasoning"), trace=trace)
    if outcome.status == REJECTED:
        last = next((each for each in reversed(trace) if each.get("detail")), None)
        why = f": {last['detail']}" if last is not None else ""
        raise RowError(
            "program_rejected", f"no answer passed the program's checks ({outcome.reason}){why}"[:500]
        )
    error = outcome.error or {}
    raise RowError(error.get("code") or "generation_failed", error.get("message") or "the program failed")
