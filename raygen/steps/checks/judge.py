"""Judge: a model reads the sample by a rubric, and its reply has to hold a number that is high enough."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence

from pydantic import Field, field_validator

from raygen.config.base import Frozen, grouped_pattern
from raygen.config.sampling import Sampling
from raygen.engines.requests import GeneratedSample, GenerateRequest
from raygen.steps.base import Ask, Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls, in_order
from raygen.steps.row.seeds import seed_of
from raygen.steps.row.story import Draft, Story
from raygen.steps.row.usable import fault_of
from raygen.steps.tools.excerpt import excerpt
from raygen.steps.tools.patterns import Pattern

KEPT = 1000  # characters of a reply that stay in the row's story


SCORE = r"(?i)\bscore\W{0,8}?(-?\d+(?:\.\d+)?)"  # Score: 7, **Score**: 7/10, score = 0.5


class Judge(Frozen):
    """What does a model say of the sample? Its reply has to hold a number, which is compared."""

    model: str = Field(description="the job's name of a language model")
    prompt: str = Field(description="a template, with the rubric; `sample` and `answer` are the sample's")
    system: str | None = Field(None, description="a template: the system message before the prompt")
    pattern: str = Field(SCORE, description="its first group is the number; the last match counts")
    at_least: float = Field(description="accepted from this number on")
    sampling: Sampling = Field(Sampling(temperature=0), description="greedy, if unset")

    _compiles = field_validator("pattern")(grouped_pattern)


class JudgeCheck(Check):
    """A reply without a number, or that is no answer, is no verdict: the sample is rejected as `no_verdict`."""

    reason = "judged_low"

    Config = Judge

    config: Judge

    def __init__(self, config: Judge, step: Step) -> None:
        super().__init__(config, step)
        self.model = config.model
        self._step, self._run_seed = step.name, step.run_seed
        self._pattern = Pattern(config.pattern)
        self._prompt = self.template(config.prompt, "prompt")
        self._system = self.template(config.system, "system") if config.system is not None else None
        step.asks.append(Ask(f"{step.where}.judge", config.model, config.system is not None, config.sampling))

    @classmethod
    def models(cls, config: Judge) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "generate"

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        requests = [self._request(story, draft) for draft in drafts]
        answers = await in_order(calls.generate(self.config.model, request) for request in requests)
        said = [result.samples[0] for _, result in answers]
        if self.config.pattern == SCORE:
            return [self._verdict(each) for each in said]
        # Another pattern may take its time, and the engines' loop must not wait for it.
        return await asyncio.to_thread(lambda: [self._verdict(each) for each in said])

    def _request(self, story: Story, draft: Draft) -> GenerateRequest:
        names = story.names(draft)
        messages = [{"role": "user", "content": self._prompt.render(names)}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system.render(names)})
        seed = seed_of(self._run_seed, story.row_id, draft.number, story.attempt, self._step)
        return GenerateRequest(story.row_id, messages, self.config.sampling, [seed])

    def _verdict(self, said: GeneratedSample) -> Verdict:
        if (fault := fault_of(said)) is not None:
            return Verdict(False, f"the judge gives no answer: {fault[1]}", reason="no_verdict")
        reply = said.text
        kept = excerpt(reply, KEPT)
        number = number_by(self._pattern, reply)
        if number is None:
            return Verdict(False, f"the judge gives no number: {kept}", reason="no_verdict")
        if number >= self.config.at_least:
            return Verdict(True, kept, number, {"verdict": number})
        finding = f"the judge gives {number:g}; at least {self.config.at_least:g} is wanted: {kept}"
        return Verdict(False, finding, number, {"verdict": number})


def number_by(pattern: Pattern, text: str) -> float | None:
    """Return the number in the first group of a pattern's last match; None if there is none, or it is not finite."""
    groups = pattern.found(text)
    try:
        number = float(groups[-1]) if groups and groups[-1] is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
