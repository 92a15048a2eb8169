"""The decompose step: a question is split into parts, answered in order, each answer carried into the next prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from raygen.config.base import Frozen, Variable, pattern_of
from raygen.config.sampling import Sampling
from raygen.data.text.template import Template
from raygen.engines.finish import LENGTH
from raygen.engines.requests import GenerateRequest
from raygen.steps.base import Ask, Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.seeds import seed_of
from raygen.steps.row.story import Draft, Story
from raygen.steps.row.usable import fault_of
from raygen.steps.tools.excerpt import excerpt
from raygen.steps.tools.patterns import Pattern

if TYPE_CHECKING:
    from raygen.steps.context import Context

KEPT = 500  # characters of a part in a decision
NAMES = frozenset({"part", "number", "answered"})  # what the prompt about a part reads beside the row


# Lines that begin with a number or a dash.
PARTS = r"(?m)^[ \t]*(?:\d{1,3}[.):]|[-*•])[ \t]+(.*\S)"


class PartAnswer(Frozen):
    """How a part of a question is answered."""

    prompt: str = Field(
        description="a template; `part`, its `number` from 1 on, and `answered`: [{part, answer}, ...] of those before it"
    )
    system: str | None = Field(None, description="as the question is split, if unset")
    model: str | None = Field(None, description="the model that splits the question, if unset")
    sampling: Sampling | None = Field(None, description="as the question is split, if unset")


class Decompose(Frozen):
    """Split a question into parts and answer them in order, each answer carried into the next prompt.

    The variable `into` is a text: the parts with their numbers, each with its answer on the next line, and blank lines between.
    """

    model: str = Field(description="the job's name of a language model")
    prompt: str = Field(description="a template over the row's columns: asks for the parts")
    system: str | None = Field(None, description="a template: the system message before the prompt")
    sampling: Sampling = Sampling()
    pattern: str = Field(PARTS, description="one match a part: its first group, or all of it if it has none")
    most: int = Field(6, ge=1, le=64, description="parts that are answered, in order; more are left out")
    answer: PartAnswer
    into: Variable = Field("parts", description="the variable that holds the parts with their answers")

    _compiles = field_validator("pattern")(pattern_of)


class DecomposeStep(Step):
    """At most 1 + `most` calls a row. What they return stays among the row's discarded samples, in order.

    A row is rejected when there are no parts (`no_parts`), or one of them gets no answer (`no_part_answer`).
    """

    about_samples = frozenset()
    needs_samples = False
    makes_text = True

    Config = Decompose

    config: Decompose

    def __init__(
        self, config: Decompose, name: str, where: str, context: Context, before: Sequence[Step]
    ) -> None:
        super().__init__(config, name, where, context, before)
        self._pattern = Pattern(config.pattern)
        self._prompt = self.template(config.prompt, "prompt")
        self._system = self.template(config.system, "system") if config.system is not None else None
        answer = config.answer
        self._part_prompt = self.template(answer.prompt, "answer.prompt", NAMES)
        self._part_system = (
            self.template(answer.system, "answer.system", NAMES)
            if answer.system is not None
            else self._system
        )
        self._part_model = answer.model or config.model
        self._part_sampling = answer.sampling or config.sampling
        self.writes = frozenset({config.into})
        self.asks = [
            Ask(where, config.model, self._system is not None, config.sampling),
            Ask(f"{where}.answer", self._part_model, self._part_system is not None, self._part_sampling),
        ]

    @classmethod
    def models(cls, config: Decompose) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "generate"
        if config.answer.model is not None:
            yield "answer.model", config.answer.model, "generate"

    @classmethod
    def check(
        cls, config: Decompose, where: str, context: Context, number: int, scores: frozenset[str]
    ) -> None:
        for later in context.steps[number + 1 :]:
            if later.kind.begins:
                return
            if later.kind.mends:
                raise ValueError(
                    f"{where}: a `refine` after it makes the steps above it again, this one too; put it before their `generate`"
                )

    async def run(self, story: Story, calls: Calls) -> None:
        row = story.names()
        split = await self._ask(
            story, calls, 0, self.config.model, self.config.sampling, self._prompt, self._system, row
        )
        no_answer = fault_of(split.said)
        parts = parts_in(split.text, self._pattern) if no_answer is None else []
        left_out = len(parts) - self.config.most
        more = f"; {left_out} more are left out" if left_out > 0 else ""
        parts = parts[: self.config.most]
        story.decide(
            self.name,
            "split",
            split,
            detail=f"{len(parts)} parts{more}{_cut(split)}",
            model=self.config.model,
        )
        if not parts:
            why = no_answer[1] if no_answer is not None else "no part has the form that was asked for"
            story.refuse(self.name, "no_parts", f"the question was not split: {why}")
            return
        answered: list[dict[str, str]] = []
        for number, part in enumerate(parts, 1):
            names = {**row, "part": part, "number": number, "answered": list(answered)}
            draft = await self._ask(
                story, calls, number, self._part_model, self._part_sampling, self._part_prompt, self._part_system, names
            )  # fmt: skip
            story.decide(
                self.name,
                "answered",
                draft,
                detail=f"{number}. {excerpt(part, KEPT)}{_cut(draft)}",
                model=self._part_model,
            )
            if (fault := fault_of(draft.said)) is not None:
                story.refuse(self.name, "no_part_answer", f"part {number} got no answer: {fault[1]}")
                return
            answered.append({"part": part, "answer": draft.text.strip()})
        story.variables[self.config.into] = "\n\n".join(
            f"{number}. {each['part']}\n{each['answer']}" for number, each in enumerate(answered, 1)
        )

    async def _ask(
        self,
        story: Story,
        calls: Calls,
        number: int,
        model: str,
        sampling: Sampling,
        prompt: Template,
        system: Template | None,
        names: Mapping[str, Any],
    ) -> Draft:
        """Make one call. What comes back is kept, but is no sample of the row's own."""
        messages = [{"role": "user", "content": prompt.render(names)}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system.render(names)})
        seed = seed_of(self.run_seed, story.row_id, number, story.attempt, self.name)
        request = GenerateRequest(story.row_id, messages, sampling, [seed])
        key, result = await calls.generate(model, request)
        draft = story.draft(self.name, key, number, seed, result.samples[0], result.prompt_tokens)
        story.discard([draft])
        return draft


def _cut(draft: Draft) -> str:
    return "; cut off at max_tokens" if draft.sample.finish_reason == LENGTH else ""


def parts_in(text: str, pattern: Pattern) -> list[str]:
    """Return what a pattern matches in a text, in order; a part that comes again is the same part."""
    return list(
        dict.fromkeys(" ".join(part.split()) for part in pattern.found(text) if part and part.strip())
    )
