"""Text lessons: what a row teaches a language model or a classifier, and batches in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Tools
from raygen.data.text.tools import unread_tools, whole_tools
from raygen.train.families.lessons import Batch, Objective

TemplateText = Annotated[str, Field(min_length=1, description="a Jinja2 template over the row's columns")]

# Both families' records have the other's keys too, as long as these are unset: trainings that were begun when both had one
# description go on.
_SHARED: dict[str, Any] = {
    **dict.fromkeys(("text", "pair", "system", "prompt", "completion", "messages", "tools", "turns")),
    **dict.fromkeys(("label", "labels")),
    "label_smoothing": 0.0,
}


class TokenBatch(Batch):
    """Batches in tokens, padding included."""

    unit: ClassVar[str] = "tokens"
    STEP: ClassVar[str] = "tokens"
    BLOCK: ClassVar[str] = "micro_tokens"
    LONGEST: ClassVar[str | None] = "max_tokens"

    tokens: int = Field(4096, ge=16, description="an optimizer step's, of all workers, padding included")
    micro_tokens: int = Field(4096, ge=16, description="computed at once by one worker: what memory allows")
    max_tokens: int = Field(512, ge=8, description="of an example, and of a packed sequence")

    @model_validator(mode="after")
    def _longest_fits(self) -> TokenBatch:
        if self.max_tokens > self.micro_tokens:
            raise ValueError("max_tokens is more than micro_tokens: the longest example would not fit")
        return self


class CausalLMObjective(Objective):
    """What a row teaches a language model: `text`, or `prompt` and `completion`, or `messages`."""

    Batch: ClassVar[type[Batch]] = TokenBatch
    TEMPLATES: ClassVar[tuple[str, ...]] = ("text", "system", "prompt", "completion")
    COLUMNS: ClassVar[tuple[str, ...]] = ("messages", "tools")
    # What is needed, and what may stand beside it.
    WAYS: ClassVar[tuple[tuple[set[str], set[str]], ...]] = (
        ({"text"}, set()),
        ({"prompt", "completion"}, {"system"}),
        ({"messages"}, {"tools", "turns"}),
    )

    text: TemplateText | None = None
    system: TemplateText | None = None
    prompt: TemplateText | None = None
    completion: TemplateText | None = Field(None, description="what the loss is taken on")
    messages: str | tuple[str, str] | None = Field(
        None,
        description="a column of chat messages; the loss is taken on the assistant's. Or two, [PROMPT, COMPLETION]: on the "
        "assistant's of the second alone",
    )
    tools: Tools | None = Field(
        None,
        description="tools that the chat's model is told of: a column of lists of them, or the list itself",
    )
    turns: Literal["all", "last"] | None = Field(
        None,
        description="of the assistant's: all (if unset), or the last alone, for templates that write earlier turns otherwise "
        "once another follows",
    )

    @field_validator("tools")
    @classmethod
    def _whole(cls, tools: Any) -> Any:
        if isinstance(tools, list):
            whole_tools(tools)
        return tools

    @model_validator(mode="after")
    def _one_way(self) -> CausalLMObjective:
        given = {name for name, value in self if value}
        if not any(needed <= given <= needed | beside for needed, beside in self.WAYS):
            allowed = "; or ".join(
                " and ".join(sorted(needed)) + (f" (perhaps {', '.join(sorted(beside))})" if beside else "")
                for needed, beside in self.WAYS
            )
            raise ValueError(f"given {', '.join(sorted(given)) or 'nothing'}; wanted {allowed}")
        return self

    @property
    def writes_chats(self) -> bool:
        return bool(self.completion or self.messages)

    def note(self, columns: Mapping[str, Any]) -> str | None:
        messages = [self.messages] if isinstance(self.messages, str) else list(self.messages or ())
        unread = unread_tools(columns, messages) if self.tools is None else None
        if unread is None:
            return None
        return (
            f"a column {unread!r} beside {messages[0]!r}, and the recipe does not read it: "
            f"`objective.tools: {unread}` tells the model of the tools"
        )

    def identity(self) -> dict[str, Any]:
        return _SHARED | self.model_dump(mode="json")


class ClassifierObjective(Objective):
    """What a row teaches a classifier: a text, or a pair of texts, and its label."""

    Batch: ClassVar[type[Batch]] = TokenBatch
    TEMPLATES: ClassVar[tuple[str, ...]] = ("text", "pair")
    COLUMNS: ClassVar[tuple[str, ...]] = ("label",)

    text: TemplateText
    pair: TemplateText | None = Field(
        None, description="a second text: of (premise, hypothesis), the hypothesis"
    )
    label: str = Field(min_length=1, description="the column of the label: its name, or its number")
    labels: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="the labels in order; unset: the base's, or those that the column holds, sorted",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that goes to all labels alike"
    )

    @property
    def label_column(self) -> str:
        return self.label

    @property
    def given_labels(self) -> tuple[str, ...] | None:
        return self.labels

    def identity(self) -> dict[str, Any]:
        return _SHARED | self.model_dump(mode="json")
