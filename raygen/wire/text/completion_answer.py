"""Completion answer: choices from an engine's results, and from the pieces of its streams."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from raygen.engines.requests import GenerateChunk, GenerateRequest, GenerateResult, TokenLogprob
from raygen.wire.text.asking import finish_reason
from raygen.wire.text.completion_body import CompletionBody
from raygen.wire.text.logprobs import text_logprobs
from raygen.wire.text.usage import Tokens, UsageBody


class TextLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"]


class TextCompletion(BaseModel):
    """The answer of a completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: UsageBody | None


def choices_of(
    body: CompletionBody, requests: list[GenerateRequest], results: list[GenerateResult]
) -> tuple[list[dict[str, Any]], Tokens]:
    """Return an answer's choices, those of the first prompt first, and what it took. Raises RowError `bad_answer`."""
    tokens = Tokens(0, 0)
    choices: list[dict[str, Any]] = []
    for request, result in zip(requests, results, strict=True):
        tokens.add(result)
        before, told = prompt_of(body, request, result.prompt_logprobs)
        if not request.seeds:
            for _ in range(body.samples):
                choices.append(_choice(body, len(choices), before, told, 0, "length"))
        for sample in result.samples:
            finish = text_finish(sample.finish_reason)
            logprobs = told + (sample.logprobs or [])
            choices.append(_choice(body, len(choices), before + sample.text, logprobs, 0, finish))
    return choices, tokens


class TextStream:
    """One choice, while its text comes in."""

    def __init__(self, body: CompletionBody, index: int) -> None:
        self._body, self._index = body, index
        self._begun = False
        self._offset = 0

    def push(self, chunk: GenerateChunk, before: str, told: list[TokenLogprob]) -> dict[str, Any]:
        """Return the choice of a chunk.

        Args:
            before: what of the prompt the answer begins with, and `told`: its tokens.
        """
        text, logprobs = chunk.text, chunk.logprobs or []
        if not self._begun:
            self._begun = True
            text, logprobs = before + text, told + logprobs
        finish = None if chunk.finish_reason is None else text_finish(chunk.finish_reason)
        choice = _choice(self._body, self._index, text, logprobs, self._offset, finish)
        self._offset += sum(len(each.token) for each in logprobs)
        return choice


def prompt_of(
    body: CompletionBody, request: GenerateRequest, told: list[TokenLogprob] | None
) -> tuple[str, list[TokenLogprob]]:
    """Return what of the prompt an answer begins with: its text, and its tokens where they are asked for."""
    if not body.echo:
        return "", []
    text = request.prompt if isinstance(request.prompt, str) else "".join(each.token for each in told or ())
    return text, told or [] if body.logprobs is not None else []


def text_finish(word: str) -> str:
    """Return how a text ended. Raises RowError `bad_answer`."""
    found = finish_reason(word)
    return "stop" if found == "tool_calls" else found


def _choice(
    body: CompletionBody,
    index: int,
    text: str,
    logprobs: list[TokenLogprob],
    offset: int,
    finish: str | None,
) -> dict[str, Any]:
    told = None if body.logprobs is None else text_logprobs(logprobs, offset, body.logprobs)
    return {"index": index, "text": text, "logprobs": told, "finish_reason": finish}
