"""Completions: `/v1/completions`: texts and tokens that a model goes on from, without a chat template."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from raygen.engines.requests import GenerateChunk, GenerateRequest, TokenLogprob
from raygen.usage import Usage
from raygen.wire.base import Answered, Asked, Endpoint, Piece, Served
from raygen.wire.coalesce import coalesced
from raygen.wire.facts import check_verb
from raygen.wire.text.asking import answer_id, at_once, fingerprint_of
from raygen.wire.text.body import IGNORED
from raygen.wire.text.completion_answer import TextCompletion, TextStream, choices_of, prompt_of
from raygen.wire.text.completion_body import CompletionBody, completion_requests
from raygen.wire.text.constraints import check_form, constraint_of, form_of
from raygen.wire.text.usage import Tokens, reserved

ANY = Asked("check", 0, 0)
PROMPTS_AT_ONCE = 32  # of one body, so that it does not fill a model's queue


class Completions(Endpoint[CompletionBody]):
    """Completions: what a model goes on with, from texts or tokens, whole or in pieces."""

    path = "/v1/completions"
    verb = "generate"
    Body = CompletionBody
    Answer = TextCompletion
    streams = True
    ignored = IGNORED

    def check(self, body: CompletionBody, served: Served) -> None:
        check_verb(served, self.verb, self.path)
        check_form(form_of(body), served)
        completion_requests(body, served, ANY)

    def reserve(self, body: CompletionBody) -> Usage:
        prompts = body.prompts
        outputs = len(prompts) * body.samples * body.most_tokens
        texts = sum(len(prompt.encode()) for prompt in prompts if isinstance(prompt, str))
        held = reserved(texts, outputs)
        held["prompt_tokens"] += sum(len(prompt) for prompt in prompts if not isinstance(prompt, str))
        return held

    async def answer(self, body: CompletionBody, served: Served, asked: Asked) -> Answered:
        requests = await _requests(body, served, asked)
        results = await at_once((served.engine.generate(each) for each in requests), PROMPTS_AT_ONCE)
        choices, tokens = choices_of(body, requests, results)
        answer = {**_head(served, asked), "choices": choices, "usage": tokens.body()}
        return Answered(answer, tokens.usage())

    async def stream(self, body: CompletionBody, served: Served, asked: Asked) -> AsyncIterator[Piece]:
        if body.most_tokens == 0:
            async for piece in self._told_only(body, served, asked):
                yield piece
            return
        requests = await _requests(body, served, asked)
        choices = [TextStream(body, index) for index in range(len(requests) * body.samples)]
        outputs = [0] * len(choices)
        befores: dict[int, tuple[str, list[TokenLogprob]]] = {}
        tokens = Tokens(None, 0)
        head: dict[str, Any] = {}
        gate = asyncio.Semaphore(PROMPTS_AT_ONCE)
        sources = [_in_turn(served, each, gate) for each in requests]
        async with aclosing(coalesced(sources, body.samples)) as chunks:
            async for chunk in chunks:
                head = head or {**_head(served, asked), **({"usage": None} if body.tells_usage else {})}
                number = chunk.index // body.samples
                if number not in befores:
                    befores[number] = prompt_of(body, requests[number], chunk.prompt_logprobs)
                tokens.begin(chunk)
                outputs[chunk.index] = chunk.output_tokens
                tokens.output = sum(outputs)
                choice = choices[chunk.index].push(chunk, *befores[number])
                yield Piece({**head, "choices": [choice]}, tokens.usage())
        if body.tells_usage:
            yield Piece({**head, "choices": [], "usage": tokens.body()}, tokens.usage())

    async def _told_only(self, body: CompletionBody, served: Served, asked: Asked) -> AsyncIterator[Piece]:
        """Yield a whole answer, one choice a piece: where nothing is generated nothing comes in pieces."""
        answered = await self.answer(body, served, asked)
        assert isinstance(answered.body, dict)
        whole = answered.body
        usage = whole.pop("usage")
        head = {**whole, **({"usage": None} if body.tells_usage else {})}
        for choice in whole["choices"]:
            yield Piece({**head, "choices": [choice]}, answered.usage)
        if body.tells_usage:
            yield Piece({**head, "choices": [], "usage": usage}, answered.usage)


async def _requests(body: CompletionBody, served: Served, asked: Asked) -> list[GenerateRequest]:
    form = form_of(body)
    check_form(form, served)
    return completion_requests(body, served, asked, await constraint_of(form))


async def _in_turn(
    served: Served, request: GenerateRequest, gate: asyncio.Semaphore
) -> AsyncIterator[GenerateChunk]:
    async with gate:
        async for chunk in served.engine.stream(request):
            yield chunk


def _head(served: Served, asked: Asked) -> dict[str, Any]:
    """Return what an answer and all chunks of a stream have."""
    return {
        "id": answer_id("cmpl", asked),
        "object": "text_completion",
        "created": asked.created_s,
        "model": served.name,
        "system_fingerprint": fingerprint_of(served),
    }
