"""Chat completions: `/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from raygen.engines.requests import GenerateRequest
from raygen.usage import Usage
from raygen.wire.base import Answered, Asked, Endpoint, Piece, Served
from raygen.wire.coalesce import coalesced
from raygen.wire.facts import check_drawn, check_verb
from raygen.wire.text.asking import answer_id, fingerprint_of
from raygen.wire.text.body import IGNORED
from raygen.wire.text.chat_answer import ChatCompletion, choices_of
from raygen.wire.text.chat_body import ChatBody, chat_form, chat_request
from raygen.wire.text.chat_stream import ChoiceStream
from raygen.wire.text.constraints import constraint_of
from raygen.wire.text.messages import message_bytes
from raygen.wire.text.tools import tools_bytes
from raygen.wire.text.usage import Tokens, reserved

ANY = Asked("check", 0, 0)


class ChatCompletions(Endpoint[ChatBody]):
    """Chats: the next message, whole or in pieces."""

    path = "/v1/chat/completions"
    verb = "generate"
    Body = ChatBody
    Answer = ChatCompletion
    streams = True
    ignored = IGNORED

    def check(self, body: ChatBody, served: Served) -> None:
        check_verb(served, self.verb, self.path)
        check_drawn(served, body)
        chat_request(body, served, ANY, image_hosts=self.image_hosts)
        chat_form(body, served)

    def reserve(self, body: ChatBody) -> Usage:
        size_bytes = message_bytes(body.messages) + tools_bytes(body.tools)
        return reserved(size_bytes, body.samples * body.most_tokens)

    async def answer(self, body: ChatBody, served: Served, asked: Asked) -> Answered:
        request = await self._request(body, served, asked)
        result = await served.engine.generate(request)
        made = answer_id("chatcmpl", asked)
        choices, tokens = choices_of(
            result, made, served.model.spec.tags, _names(request.tools), _most_calls(body)
        )
        if body.traced:
            for choice, sample in zip(choices, result.samples, strict=True):
                choice["raygen"] = {"trace": sample.trace}
        answer = {
            "id": made,
            "object": "chat.completion",
            "created": asked.created_s,
            "model": served.name,
            "system_fingerprint": fingerprint_of(served),
            "choices": choices,
            "usage": tokens.body(),
        }
        return Answered(answer, tokens.usage())

    async def stream(self, body: ChatBody, served: Served, asked: Asked) -> AsyncIterator[Piece]:
        request = await self._request(body, served, asked)
        made = answer_id("chatcmpl", asked)
        choices = [
            ChoiceStream(index, made, served.model.spec.tags, _names(request.tools), _most_calls(body))
            for index in range(body.samples)
        ]
        outputs = [0] * len(choices)
        tokens = Tokens()
        head: dict[str, Any] | None = None
        async with aclosing(coalesced([served.engine.stream(request)], len(choices))) as chunks:
            async for chunk in chunks:
                if head is None:
                    head = _head(made, served, asked, body.tells_usage)
                tokens.begin(chunk)
                outputs[chunk.index] = chunk.output_tokens
                tokens.output = sum(outputs)
                for choice in choices[chunk.index].push(chunk):
                    yield Piece({**head, "choices": [choice]}, tokens.usage())
        if body.tells_usage and head is not None:
            tokens.reasoning = sum(
                each.reasoning_tokens(outputs[index]) for index, each in enumerate(choices)
            )
            yield Piece({**head, "choices": [], "usage": tokens.body()}, tokens.usage())

    async def _request(self, body: ChatBody, served: Served, asked: Asked) -> GenerateRequest:
        constraint = await constraint_of(chat_form(body, served))
        return chat_request(body, served, asked, constraint, self.image_hosts)


def _head(made: str, served: Served, asked: Asked, tells_usage: bool) -> dict[str, Any]:
    """Return what all chunks of a stream have."""
    return {
        "id": made,
        "object": "chat.completion.chunk",
        "created": asked.created_s,
        "model": served.name,
        "system_fingerprint": fingerprint_of(served),
        **({"usage": None} if tells_usage else {}),
    }


def _names(tools: list[dict[str, Any]] | None) -> list[str]:
    return [tool["function"]["name"] for tool in tools or ()]


def _most_calls(body: ChatBody) -> int | None:
    return 1 if body.parallel_tool_calls is False else None
