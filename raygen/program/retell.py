"""Retell: a row's program run again over engines that answer from its outcome alone, to see what was asked of them.

Outcomes keep no prompts. They follow from the row, the job and what was answered, and each call's digest proves them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from raygen.engines import engine_facts
from raygen.engines.base import Engine
from raygen.engines.requests import (
    ClassifyRequest,
    ClassifyResult,
    EmbedRequest,
    EmbedResult,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    MediaSample,
    RenderRequest,
    RenderResult,
)
from raygen.errors import RowError
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from raygen.program.job import Job
from raygen.program.program import Program, Tally
from raygen.program.resolve import identity_of
from raygen.runs.outcome import FAILED, Outcome
from raygen.steps.base import Step
from raygen.steps.checks.entailment import AsksEntailment
from raygen.steps.inner import HoldingStep
from raygen.steps.row.calls import Calls
from raygen.steps.row.record import BESIDE
from raygen.steps.row.story import DROPPED, GOES_ON, SELECTED, Draft, Story
from raygen.steps.spec import step_names

NOT_RECORDED = "not_recorded"
NOT_READ = b"-"  # in place of media, which no step looks into


@dataclass(slots=True)
class Prompt:
    """What a model was asked, rendered again."""

    step: str
    at: int  # how many decisions stood before its step began
    request: GenerateRequest | RenderRequest
    model: str
    samples: list[int]  # numbers of what it gave; none: that is not kept
    proven: bool | None = (
        None  # is it, by the digest of its call, what was sent? None: nothing to compare with
    )

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was asked, as chat messages; of a model that renders its prompt."""
        if isinstance(self.request, RenderRequest):
            return [{"role": "user", "content": self.request.prompt or self.request.label or ""}]
        return self.request.messages


@dataclass(slots=True)
class Judged:
    """What a judge of pairs was asked about a sample."""

    model: str
    premises: list[str]
    hypothesis: str
    label: str  # that counts


@dataclass(slots=True)
class Retold:
    prompts: list[Prompt] = field(default_factory=list)
    judged: dict[int, Judged] = field(default_factory=dict)  # by the decision's place in `attempts`
    problem: str | None = None  # why it is not the whole story


def retell(
    job: Job,
    pinned: Mapping[str, Mapping[str, Any]],
    record: Mapping[str, Any],
    row: Mapping[str, Any],
    unreadable: RowError | None = None,
) -> Retold:
    """Run a row's program again, asking no model.

    Args:
        job: that made the outcome. pinned: its plan's `models`, with their digests.
        record: the outcome as a dict. row: its input, as read again. unreadable: why it could not be read.

    Raises:
        ConfigError: a template does not parse, a function cannot be imported.
    """
    program = Program(job, _identities(job, pinned))
    program.sealing, program.tags = [], {}  # the record is sealed, and has no tags
    told = _Telling(record)
    for step in program.steps:
        # The checks that a refinement makes again are these same objects.
        step.run = _Told(step, told).run  # type: ignore[method-assign]
    engines = {name: RecordedEngine(_unresolved(job, name, pinned), told) for name in job.models}
    work = program.run(engines, record["row_id"], row, unreadable, Tally())
    with ThreadPoolExecutor(1) as thread:  # whoever calls may have an event loop of its own
        outcome = thread.submit(asyncio.run, work).result()
    calls = {each["number"]: each["call"] for each in [*outcome.samples, *outcome.discarded]}
    for prompt in told.found.prompts:
        if prompt.samples and all(told.samples[n]["call"] is not None for n in prompt.samples):
            prompt.proven = all(calls.get(n) == told.samples[n]["call"] for n in prompt.samples)
    told.found.problem = _problem(outcome, record, step_names(job.steps))
    return told.found


class _Telling:
    """What the engines and steps of one row share."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.attempts: Sequence[Mapping[str, Any]] = record["attempts"]
        samples = [*record["samples"], *record["discarded"]]
        self.samples = {each["number"]: each for each in samples}
        self.by_seed = {each["seed"]: each for each in samples}
        self.found = Retold()
        self.step, self.at = "", 0


class RecordedEngine(Engine):
    """Answers with the samples of one outcome; they are found by their seeds, which no two of a row share."""

    def __init__(self, model: ResolvedModel, told: _Telling) -> None:
        super().__init__(model)
        self._told = told

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        found = self._samples(request)
        samples = [
            GeneratedSample(
                each["text"] or "",
                each["finish_reason"],
                each["usage"]["output_tokens"],
                units=dict(each["usage"].get("units") or ()) or None,
                **{name: each[name] for name in BESIDE},
            )
            for each in found
        ]
        return GenerateResult(samples, found[0]["usage"]["prompt_tokens"] if found else None)

    async def render(self, request: RenderRequest) -> RenderResult:
        found = self._samples(request)
        samples = [
            MediaSample(
                NOT_READ,
                each["media_type"],
                each["width"],
                each["height"],
                each["seconds"],
                finish_reason=each["finish_reason"],
            )
            for each in found
        ]
        return RenderResult(samples, found[0]["usage"]["prompt_tokens"] if found else None)

    def _samples(self, request: GenerateRequest | RenderRequest) -> list[Mapping[str, Any]]:
        """Return the recorded samples that a request asked for, and keep the request. Raises RowError."""
        told = self._told
        found = [told.by_seed[seed] for seed in request.seeds if seed in told.by_seed]
        whole = len(found) == len(request.seeds)
        numbers = [each["number"] for each in found] if whole else []
        told.found.prompts.append(Prompt(told.step, told.at, request, self.model.name, numbers))
        if not whole:
            raise _not_recorded(self.model.name)
        return found

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        raise _not_recorded(self.model.name)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        raise _not_recorded(self.model.name)

    async def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        raise _not_recorded(self.model.name)


def _not_recorded(model: str) -> RowError:
    return RowError(NOT_RECORDED, f"what model {model!r} answered is not kept in the outcome")


class _Told:
    """One step, told again. A judge's decisions are the recorded ones; every other step does what it does."""

    def __init__(self, step: Step, told: _Telling) -> None:
        self._step, self._told = step, told
        self._run = step.run
        inner = step.inner if isinstance(step, HoldingStep) else None
        self._entailment = inner if isinstance(inner, AsksEntailment) else None
        self._asks = any(True for _ in type(step).models(step.config))

    async def run(self, story: Story, calls: Calls) -> None:
        told = self._told
        before = told.step, told.at
        told.step, told.at = self._step.name, len(story.decisions)
        try:
            if self._step.judges:
                await self._judge(story, calls)
            else:
                await self._run(story, calls)
        finally:
            told.step, told.at = before

    async def _judge(self, story: Story, calls: Calls) -> None:
        if self._asks and self._entailment is None:
            # For the prompts of a judge that generates. Its answers are not kept: it ends with the first.
            try:
                await self._run(story, calls)
            except RowError as error:
                if error.code != NOT_RECORDED:
                    raise
            if len(story.decisions) > self._told.at:
                return
        name, at = self._step.name, len(story.decisions)
        drafts = {draft.number: draft for draft in story.drafts}
        selected: list[Draft] = []
        now = name, story.attempt
        of_step = itertools.takewhile(
            lambda each: (each["step"], each["attempt"]) == now, self._told.attempts[at:]
        )
        for place, each in enumerate(list(of_step), at):
            if each["sample"] is None:
                raise RowError(each["detail"] or NOT_RECORDED, "as recorded")
            draft = drafts.get(each["sample"])
            if draft is None:
                raise _not_recorded(name)
            if self._entailment is not None:
                asked = self._entailment.asked(story, draft)
                self._told.found.judged[place] = Judged(self._entailment.config.model, *asked)
            score = (self._told.samples[draft.number]["scores"] or {}).get(name)
            if score is not None:
                draft.scores[name] = score
            if each["decision"] in GOES_ON or each["decision"] == DROPPED:
                said = {"detail": each["detail"], "model": each["model"], "scores": each["scores"]}
                story.decide(name, each["decision"], draft, **said)
            else:
                finding = each["detail"] or ""
                story.reject(draft, name, each["decision"], finding, each["scores"], each["model"])
            if each["decision"] == SELECTED:
                selected.append(draft)
        if selected:
            story.discard([draft for draft in story.drafts if draft not in selected])


def _identities(job: Job, pinned: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: identity_of(_resolved(job, name, pinned), engine_facts(spec.engine).deciding_options)
        for name, spec in job.models.items()
    }


def _resolved(job: Job, name: str, pinned: Mapping[str, Mapping[str, Any]]) -> ResolvedModel:
    """Return a model as it was when the run began, without its weights."""
    model = pinned.get(name, {})
    adapters = {each: ResolvedAdapter("", "", digest) for each, digest in model.get("adapters", {}).items()}
    return ResolvedModel(name, job.models[name], None, model.get("digest", ""), adapters, model.get("date"))


def _unresolved(job: Job, name: str, pinned: Mapping[str, Mapping[str, Any]]) -> ResolvedModel:
    model = _resolved(job, name, pinned)
    spec = model.spec.model_copy(update={"options": {}})  # those are another engine's
    return ResolvedModel(name, spec, None, model.digest, model.adapters)


def _problem(outcome: Outcome, record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Say where the story went another way than it is recorded, or where it could not go on."""

    def steps(attempts: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        return [(each["step"], each["sample"], each["decision"]) for each in attempts]

    now, before = steps(outcome.attempts), steps(record["attempts"])
    told = {each["number"] for each in (*outcome.samples, *outcome.discarded)}
    if now == before or (
        # What was decided about the row when its steps were done, such as that it is another one's duplicate.
        now == before[: len(now)]
        and outcome.status != FAILED
        and told == {each["number"] for each in (*record["samples"], *record["discarded"])}
    ):
        return None
    same = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(now, before, strict=False))
    )
    step = before[same][0] if same < len(before) else now[same][0]
    if outcome.status == FAILED and outcome.reason == NOT_RECORDED and same == len(now) - 1:
        return f"prompts are shown up to step {step!r}: what its model answered is not kept"
    if step not in names:
        return f"prompts are shown up to step {step!r}, which is none of the job's"
    return f"prompts from step {step!r} on may not be those that were sent: told again, the row goes another way there"
