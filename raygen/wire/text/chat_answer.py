"""Chat answer: a chat completion from an engine's result."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel

from raygen.engines.reasoning import told_apart
from raygen.engines.requests import GeneratedSample, GenerateResult
from raygen.wire.text.asking import finish_reason
from raygen.wire.text.logprobs import chat_logprobs
from raygen.wire.text.messages import ToolCall
from raygen.wire.text.tool_calls import Call, CallFinder, told_calls
from raygen.wire.text.usage import Tokens, UsageBody, reasoning_tokens


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    content: list[ChatLogprob] | None
    refusal: None = None


class AnswerMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    raygen: dict[str, Any] | None = None


class ChatCompletion(BaseModel):
    """The answer of a chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageBody | None


def choices_of(
    result: GenerateResult,
    answer_id: str,
    tags: tuple[str, str] | None,
    names: Collection[str],
    most_calls: int | None,
) -> tuple[list[dict[str, Any]], Tokens]:
    """Return an answer's choices, and what it took.

    Args:
        tags: between which a text is reasoning.
        names: of the tools that may be called; none: texts are not searched for calls.
        most_calls: that a choice may have; None: any number.

    Raises:
        RowError: `bad_answer`, a text is a fragment.
    """
    tokens = Tokens(0)
    tokens.add(result)
    choices = []
    for index, given in enumerate(result.samples):
        sample = given if tags is None else told_apart(given, tags)
        tokens.reasoning += reasoning_tokens(sample, given.text)
        choices.append(_choice(sample, index, answer_id, names, most_calls))
    return choices, tokens


def finish_with(word: str, calls: int) -> str:
    """Return how a choice ended that has so many calls. Raises RowError `bad_answer`."""
    found = finish_reason(word)
    return "tool_calls" if calls and found == "stop" else found if calls or found != "tool_calls" else "stop"


def _choice(
    sample: GeneratedSample, index: int, answer_id: str, names: Collection[str], most_calls: int | None
) -> dict[str, Any]:
    content, calls = _calls(sample, names)
    calls = calls[:most_calls]
    refused = sample.refusal is not None and not content
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or (calls and not content) else content,
        "refusal": sample.refusal,
    }
    if sample.reasoning is not None:
        message["reasoning_content"] = sample.reasoning
    if calls:
        message["tool_calls"] = [call.body(answer_id, index, number) for number, call in enumerate(calls)]
    return {
        "index": index,
        "message": message,
        "logprobs": None if sample.logprobs is None else chat_logprobs(sample.logprobs),
        "finish_reason": finish_with(sample.finish_reason, len(calls)),
    }


def _calls(sample: GeneratedSample, names: Collection[str]) -> tuple[str, list[Call]]:
    """Return what a sample says, and what it calls: as an endpoint told, or as its text has it."""
    if sample.tool_calls is not None and (told := told_calls(sample.tool_calls)):
        return sample.text, told
    if not names:
        return sample.text, []
    finder = CallFinder(names)
    said, calls = finder.push(sample.text)
    more, last = finder.end()
    return said + more, calls + last
