"""The generate step: a row's prompt to a model, n samples, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from raygen.config.base import Frozen, Tools, Variable
from raygen.config.constraint import Constraint
from raygen.config.media import RenderSettings
from raygen.config.sampling import Sampling
from raygen.data.media.pictures import pictures_in
from raygen.data.paths import fields_of, is_in_text
from raygen.data.text.messages import checked_messages
from raygen.data.text.tools import checked_tools, unread_tools, whole_tools
from raygen.engines.requests import GenerateRequest
from raygen.json_text import read_json
from raygen.steps.base import Ask, Step, check_constraint
from raygen.steps.rendering import Rendering
from raygen.steps.row.calls import Calls
from raygen.steps.row.pictures import image_part
from raygen.steps.row.seeds import seed_of
from raygen.steps.row.story import Draft, Story
from raygen.steps.row.usable import fault_of
from raygen.steps.tools.answers import Answer, answer_in
from raygen.steps.tools.constrained import KeepsTo

if TYPE_CHECKING:
    import pyarrow as pa

    from raygen.steps.context import Context


class Generate(Frozen):
    """Ask a model for `samples` texts a row (a prompt template, or a messages column), or with `render` for media."""

    model: str = Field(
        description="the job's name of a model that writes, or with `render` of one that renders"
    )
    system: str | None = Field(None, description="a template: the system message before the prompt")
    prompt: str | None = Field(None, description="a Jinja2 template over the row's columns")
    messages: str | None = Field(
        None,
        description="a column of chat messages: [{role, content}, ...]; or a path into one: body.messages",
    )
    images: tuple[str, ...] = Field(
        (), description="columns of pictures, sent with the prompt: bytes, {bytes, path}, or lists"
    )
    tools: Tools | None = Field(
        None, description="tools that the model may call: a column of lists of them, or the list itself"
    )
    adapter: str | None = Field(
        None, description="one of the model's adapters, or a template that names one; empty: the model itself"
    )
    samples: int = Field(1, ge=1, le=1024, description="samples of each row, each with a seed of its own")
    sampling: Sampling = Sampling()
    render: RenderSettings | None = Field(
        None, description="of a model that renders: how its pictures, sounds or videos are made"
    )
    constraint: Constraint | None = Field(None, description="what a sample's text has to be")
    answer: Answer | None = Field(None, description="where in a sample its final answer stands")
    into: Variable | None = Field(
        None,
        description="a variable for later templates: the text of the first sample that is still accepted",
    )

    @model_validator(mode="after")
    def _prompt_or_messages(self) -> Generate:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of `prompt` and `messages`")
        if self.messages is not None and (self.system is not None or self.images):
            raise ValueError(
                "`messages` brings its own system message and images: drop `system` and `images`"
            )
        return self

    @model_validator(mode="after")
    def _text_or_media(self) -> Generate:
        if self.render is None:
            return self
        if self.sampling != Sampling():
            raise ValueError("give `sampling` (texts) or `render` (media), not both")
        about_text = ("messages", "system", "tools", "constraint", "answer", "into")
        given = [key for key in about_text if getattr(self, key) is not None]
        if given:
            raise ValueError(
                f"{', '.join(given)}: only of texts; what is rendered has a `prompt` and `render`"
            )
        return self


class GenerateStep(Step):
    """One call a row. Samples that are no answer, or break the constraint, are rejected at once."""

    about_samples = frozenset()
    needs_samples = False
    begins = True
    makes_text = True

    Config = Generate

    config: Generate

    def __init__(
        self, config: Generate, name: str, where: str, context: Context, before: Sequence[Step] = ()
    ) -> None:
        super().__init__(config, name, where, context, before)
        self._prompt = self.template(config.prompt, "prompt") if config.prompt is not None else None
        self._system = self.template(config.system, "system") if config.system is not None else None
        self._adapter = self.template(config.adapter, "adapter") if config.adapter else None
        if config.messages is not None:
            self.columns[config.messages] = f"{where}.messages"
        for column in config.images:
            self.columns[column] = f"{where}.images"
        if isinstance(config.tools, str):
            self.columns[config.tools] = f"{where}.tools"
        self._tools = whole_tools(config.tools) if isinstance(config.tools, list) else None
        self._typed = context.padded
        self._keeps_to = KeepsTo(config.constraint) if config.constraint is not None else None
        self.writes = frozenset({config.into} if config.into else ())
        self.tools_key = f"{where}.tools" if config.tools else None
        self._rendering = None
        if config.render is not None:
            self._rendering = Rendering(
                name,
                context.seed,
                config.model,
                config.render,
                config.samples,
                config.images,
                self._prompt,
                context.max_sample_bytes,
            )
            return
        self.asks.append(Ask(where, config.model, config.system is not None, config.sampling, self.tools_key))

    @classmethod
    def makes_media(cls, config: Generate) -> bool:
        return config.render is not None

    @classmethod
    def models(cls, config: Generate) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "generate" if config.render is None else "render"

    @classmethod
    def checks(cls, config: Generate) -> bool:
        return config.constraint is not None or config.answer is not None

    @classmethod
    def check(
        cls, config: Generate, where: str, context: Context, number: int, scores: frozenset[str]
    ) -> None:
        adapter, known = config.adapter, context.models[config.model].adapters
        if adapter and adapter not in known and ("{" not in adapter or not known):
            raise ValueError(
                f"{where}.adapter: model {config.model!r} has no adapter {adapter!r}; "
                f"adapters: {', '.join(known) or 'none'}"
            )
        check_constraint(config.constraint, config.model, f"{where}.constraint", context)
        if isinstance(config.tools, list):
            try:
                whole_tools(config.tools)
            except ValueError as error:
                raise ValueError(f"{where}.tools: {error}") from None

    def notes(self, columns: Mapping[str, pa.DataType]) -> Iterable[str]:
        messages = self.config.messages
        if messages is not None and self.config.tools is None:
            unread = unread_tools(columns, [messages])
            if unread is not None:
                yield (
                    f"{self.where}: the source has a column {unread!r} beside {messages!r}, and the step does not read it: "
                    f"`tools: {unread}` tells the model of the tools"
                )
        parent = (messages or "").rpartition(".")[0]
        read = {f"{parent}.tools", *self.columns}
        others = [name for name in fields_of(columns, parent) if f"{parent}.{name}" not in read]
        if others:
            yield (
                f"{self.where}.messages: what else stands in {parent!r} is not taken: {', '.join(others)}; "
                "how the model is asked stands in the job (`sampling`, `constraint`)"
            )

    def request(self, row_id: str, row: Mapping[str, Any], attempt: int = 0) -> GenerateRequest:
        """Build the row's request. Raises RowError."""
        seeds = [seed_of(self.run_seed, row_id, n, attempt, self.name) for n in range(self.config.samples)]
        return GenerateRequest(
            row_id,
            self._messages(row),
            self.config.sampling,
            seeds,
            self.adapter_of(row),
            constraint=self.config.constraint,
            tools=self.tools_of(row),
        )

    def adapter_of(self, row: Mapping[str, Any]) -> str | None:
        return self._adapter.render(row).strip() or None if self._adapter is not None else None

    async def run(self, story: Story, calls: Calls) -> None:
        """Ask for samples, and reject at once what is no answer or does not keep to the constraint."""
        story.settle(self.config.into)
        if self._rendering is not None:
            await self._rendering.run(story, calls, self.adapter_of(story.names()))
            return
        request = self.request(story.row_id, story.names(), story.attempt)
        key, result = await calls.generate(self.config.model, request)
        for index, (seed, sample) in enumerate(zip(request.seeds, result.samples, strict=True)):
            self.take_in(
                story, story.draft(self.name, key, index, seed, sample, result.prompt_tokens), request
            )

    def take_in(
        self,
        story: Story,
        draft: Draft,
        request: GenerateRequest,
        name: str | None = None,
        model: str | None = None,
    ) -> None:
        """Look at a new sample: it has to be an answer, to keep to the constraint, and to say what is asked for.

        Args:
            name, model: of the step that made it, if that was another.
        """
        name = name or self.name
        detail = f"adapter {request.adapter}" if request.adapter else None
        what = "generated" if draft.parent is None else "refined"
        story.decide(name, what, draft, detail=detail, model=model or self.config.model)
        if (fault := fault_of(draft.said, may_call=bool(request.tools))) is not None:
            story.reject(draft, name, *fault)
        elif self._keeps_to is not None and (wrong := self._keeps_to.fault_in(draft.said)) is not None:
            story.reject(draft, name, "constraint_not_met", wrong)
        elif self.config.answer is not None:
            draft.answer = answer_in(draft.text, self.config.answer)
            if draft.answer is None:
                story.reject(
                    draft, name, "no_answer", "there is no final answer in the form that was asked for"
                )

    def tools_of(self, row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Return the tools that the model is told of. Raises RowError `bad_tools`."""
        column = self.config.tools
        if isinstance(column, str):
            return checked_tools(row.get(column), column, padded=self._is_padded(row, column))
        return self._tools or None

    def _is_padded(self, row: Mapping[str, Any], column: str) -> bool:
        return self._typed and not is_in_text(row, column)

    def _messages(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._prompt is None:
            column = self.config.messages or ""
            return checked_messages(row.get(column), column, padded=self._is_padded(row, column))
        content: Any = self._prompt.render(row)
        if self.config.images:
            parts: list[dict[str, Any]] = [
                image_part(data, column)
                for column in self.config.images
                for data in pictures_in(row.get(column), column)
            ]
            content = [*parts, {"type": "text", "text": content}]
        messages = [{"role": "user", "content": content}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system.render(row)})
        return messages


def _json_in(text: str) -> Any:
    """Return the JSON that a text is, or the object that it holds among other words. Raises ValueError."""
    try:
        return read_json(text)
    except ValueError:
        return read_json(text[text.index("{") : text.rindex("}") + 1])
