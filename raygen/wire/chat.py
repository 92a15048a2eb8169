"""Chat completions: messages in, texts out, whole or in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from raygen.config.constraint import Constraint
from raygen.engines.requests import GenerateChunk, GeneratedSample, GenerateRequest, TokenLogprob
from raygen.usage import Usage
from raygen.wire.base import Answered, Asked, Endpoint, Piece, Served, WireModel
from raygen.wire.errors import ApiError
from raygen.wire.texts import (
    TextBody,
    amounts,
    check_constraint,
    constraint_of,
    fingerprint,
    finish_reason,
    most,
    sampling_of,
    seeds_of,
    structured,
    usage_object,
    usage_of,
)


class Message(WireModel):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class JsonSchema(WireModel):
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(WireModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(TextBody):
    """The body of a chat."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    service_tier: str | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class ChatCompletions(Endpoint[ChatBody]):
    path = "/v1/chat/completions"
    verb = "generate"
    Body = ChatBody
    streams = True
    ignored = frozenset({"user", "metadata", "store", "service_tier"})

    def check(self, body: ChatBody, served: Served) -> None:
        check_constraint(constraint(body), served, "response_format")

    def reserve(self, body: ChatBody) -> Usage:
        size = sum(len(orjson.dumps(message.content)) for message in body.messages)
        return most(size, body.limit, body.choices)

    async def answer(self, body: ChatBody, served: Served, asked: Asked) -> Answered:
        result = await served.engine.generate(self._request(body, served, asked))
        choices = [
            {
                "index": index,
                "message": _message(sample),
                "logprobs": _logprobs(sample.logprobs),
                "finish_reason": finish_reason(sample.finish_reason),
            }
            for index, sample in enumerate(result.samples)
        ]
        whole = {
            **self._head(served, asked, "chat.completion"),
            "choices": choices,
            "usage": usage_of(result),
        }
        return Answered(whole, result.usage)

    async def stream(self, body: ChatBody, served: Served, asked: Asked) -> AsyncIterator[Piece]:
        head = self._head(served, asked, "chat.completion.chunk")
        with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        if with_usage:
            head["usage"] = None
        begun: set[int] = set()
        outputs: dict[int, int] = {}
        prompt: int | None = None
        cached: int | None = None
        async for chunk in served.engine.stream(self._request(body, served, asked)):
            prompt = chunk.prompt_tokens if chunk.prompt_tokens is not None else prompt
            cached = chunk.cached_tokens if chunk.cached_tokens is not None else cached
            outputs[chunk.index] = chunk.output_tokens
            used = amounts(prompt, sum(outputs.values()))
            if chunk.index not in begun:
                begun.add(chunk.index)
                first = {"role": "assistant", "content": ""}
                yield Piece({**head, "choices": [_delta(chunk.index, first)]}, used)
            if chunk.text or chunk.finish_reason is None:
                yield Piece({**head, "choices": [_delta(chunk.index, {"content": chunk.text}, chunk)]}, used)
            if chunk.finish_reason is not None:
                end = _delta(chunk.index, {})
                end["finish_reason"] = finish_reason(chunk.finish_reason)
                yield Piece({**head, "choices": [end]}, used)
        output = sum(outputs.values())
        if with_usage:
            last = {**head, "choices": [], "usage": usage_object(prompt, output, cached)}
            yield Piece(last, amounts(prompt, output))

    def _head(self, served: Served, asked: Asked, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{asked.request_id}",
            "object": kind,
            "created": asked.created_s,
            "model": served.name,
            "system_fingerprint": fingerprint(served),
        }

    def _request(self, body: ChatBody, served: Served, asked: Asked) -> GenerateRequest:
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        return GenerateRequest(
            asked.request_id,
            [_told(message) for message in body.messages],
            sampling_of(body, body.limit, logprobs),
            seeds_of(body, asked.seed),
            adapter=served.adapter,
            constraint=constraint(body),
            tools=body.tools or None,
            priority=asked.priority,
        )


def constraint(body: ChatBody) -> Constraint | None:
    """Return what the whole text has to be. Raises ApiError."""
    form = body.response_format
    if form is None or form.type == "text":
        return structured(body)
    if body.structured_outputs is not None:
        raise ApiError(
            400,
            "invalid_value",
            "give `response_format` or `structured_outputs`, not both",
            "response_format",
        )
    if form.type == "json_object":
        return constraint_of("response_format", json_schema={"type": "object"})
    if form.json_schema is None or form.json_schema.schema_ is None:
        raise ApiError(
            400,
            "missing_required_parameter",
            "response_format.json_schema.schema: it is required, and not there",
            "response_format.json_schema.schema",
        )
    return constraint_of("response_format.json_schema.schema", json_schema=form.json_schema.schema_)


def _told(message: Message) -> dict[str, Any]:
    told = message.model_dump(exclude_none=True, exclude=set(message.model_extra or ()))
    told.setdefault("content", None if message.tool_calls else "")
    if message.role == "developer":
        told["role"] = "system"
    return told


def _message(sample: GeneratedSample) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": sample.text, "refusal": sample.refusal}
    if sample.reasoning is not None:
        message["reasoning_content"] = sample.reasoning
    if sample.tool_calls is not None:
        message["tool_calls"] = orjson.loads(sample.tool_calls)
        message["content"] = sample.text or None
    return message


def _delta(index: int, delta: dict[str, Any], chunk: GenerateChunk | None = None) -> dict[str, Any]:
    logprobs = _logprobs(chunk.logprobs) if chunk is not None else None
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _logprobs(tokens: list[TokenLogprob] | None) -> dict[str, Any] | None:
    if tokens is None:
        return None
    return {"content": [_token(each) for each in tokens], "refusal": None}


def _token(each: TokenLogprob) -> dict[str, Any]:
    top = [_one(token, logprob) for _, token, logprob in each.top]
    return {**_one(each.token, each.logprob), "top_logprobs": top}


def _one(token: str, logprob: float | None) -> dict[str, Any]:
    known = logprob if logprob is not None else -9999.0  # as OpenAI writes what is too improbable to tell
    return {"token": token, "logprob": known, "bytes": list(token.encode("utf-8", "surrogatepass"))}
