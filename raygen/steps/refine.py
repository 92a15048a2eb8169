"""The refine step: ask again for rejected samples, telling the model what was found, and make the checks again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from raygen.config.base import Frozen
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateRequest
from raygen.steps.base import Ask, Step, check_constraint
from raygen.steps.generate import GenerateStep
from raygen.steps.row.calls import Calls
from raygen.steps.row.seeds import seed_of
from raygen.steps.row.story import Draft, Story

if TYPE_CHECKING:
    from raygen.steps.context import Context


class Refine(Frozen):
    """Ask again for samples that were rejected, telling the model what was found; the checks above are then made again."""

    prompt: str = Field(
        description="a template; `sample` is the rejected sample, `finding` what is wrong with it"
    )
    system: str | None = Field(None, description="a template: the system message before the prompt")
    model: str | None = Field(None, description="the model that generated it, if unset")
    sampling: Sampling | None = Field(None, description="as the sample was generated, if unset")
    budget: int = Field(2, ge=1, le=64, description="samples that a row may ask for again")
    until: int = Field(1, ge=1, le=1024, description="it ends once this many samples are accepted")


class RefineStep(Step):
    """Rounds, until enough samples are accepted or the row's budget is spent: each mends the rejected samples of the last.

    What the generate step says of a sample's text, its constraint, its tools and its answer, holds for the mended ones.
    """

    about_samples = frozenset({"sample", "answer", "finding"})
    mends = True
    makes_text = True

    Config = Refine

    config: Refine

    def __init__(
        self, config: Refine, name: str, where: str, context: Context, before: Sequence[Step]
    ) -> None:
        super().__init__(config, name, where, context, before)
        self._prompt = self.template(config.prompt, "prompt")
        self._system = self.template(config.system, "system") if config.system is not None else None
        begun = max(n for n, step in enumerate(before) if isinstance(step, GenerateStep))
        generate = before[begun]
        assert isinstance(generate, GenerateStep)
        # What it generates is looked at like what it mends.
        self._generate = generate
        self._model = config.model or generate.config.model
        sampling = config.sampling or generate.config.sampling
        self.asks.append(Ask(where, self._model, config.system is not None, sampling, generate.tools_key))
        again = max([begun, *(n for n, step in enumerate(before) if isinstance(step, RefineStep))])
        self._checks = before[again + 1 :]

    @classmethod
    def models(cls, config: Refine) -> Iterable[tuple[str, str, str]]:
        if config.model is not None:
            yield "model", config.model, "generate"

    @classmethod
    def check(cls, config: Refine, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        *_, generate = (step.config for step in context.steps[:number] if step.kind.begins)
        if config.model is not None:
            check_constraint(generate.constraint, config.model, f"{where}.model", context)

    async def run(self, story: Story, calls: Calls) -> None:
        left = self.config.budget
        while left and len(story.accepted) < self.config.until:
            rejected = [draft for draft in story.drafts if not draft.accepted][:left]
            if not rejected:
                return
            left -= len(rejected)
            # Their seeds are settled by their numbers; the answers are taken in by their order.
            asked = [self._request(story, draft) for draft in rejected]
            answers = await asyncio.gather(*(calls.generate(self._model, request) for request in asked))
            story.discard(rejected)
            for draft, request, (key, result) in zip(rejected, asked, answers, strict=True):
                made = story.draft(
                    self.name,
                    key,
                    draft.index,
                    request.seeds[0],
                    result.samples[0],
                    result.prompt_tokens,
                    draft,
                )
                self._generate.take_in(story, made, request, self.name, self._model)
            for check in self._checks:
                await check.run(story, calls)

    def _request(self, story: Story, draft: Draft) -> GenerateRequest:
        names = story.names(draft, finding=draft.finding)
        content = self._prompt.render(names)
        messages = [{"role": "user", "content": content}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system.render(names)})
        seed = seed_of(self.run_seed, story.row_id, draft.number, story.attempt, self.name)
        sampling = self.config.sampling or self._generate.config.sampling
        adapter = self._generate.adapter_of(story.names()) if self.config.model is None else None
        constraint, tools = self._generate.config.constraint, self._generate.tools_of(story.names())
        return GenerateRequest(
            story.row_id, messages, sampling, [seed], adapter, constraint=constraint, tools=tools
        )
