"""The echo engine as a stand-in for models that are served: raw prompts, log-probabilities, streams, slots, vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.echo import EchoEngine, echo_text
from raygen.engines.requests import (
    EmbedRequest,
    GenerateChunk,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    Media,
)
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel
from tests.fakes.running import with_engine


def with_echo(work: Callable[[EchoEngine], Awaitable[Any]], family: str = "causal_lm", **options: Any) -> Any:
    spec = ModelSpec(family=family, engine="echo", options=options)
    return with_engine(EchoEngine(ResolvedModel("echo", spec, None, "echo")), work)


def asked(prompt: str | list[int] | None = None, **changes: Any) -> GenerateRequest:
    messages = [{"role": "user", "content": "two words"}] if prompt is None else []
    sampling = changes.pop("sampling", Sampling(max_tokens=50))
    return GenerateRequest("r", messages, sampling, changes.pop("seeds", [1]), prompt=prompt, **changes)


def generated(request: GenerateRequest, **options: Any) -> GenerateResult:
    return with_echo(lambda engine: engine.generate(request), **options)


async def chunks(engine: EchoEngine, request: GenerateRequest) -> list[GenerateChunk]:
    return [chunk async for chunk in engine.stream(request)]


def test_a_raw_prompt_stands_for_itself_as_text_or_tokens():
    assert generated(asked("two words")).samples[0].text == echo_text("r", "two words", 1)
    by_ids = generated(asked([7, 8, 9], prompt_logprobs=0))
    assert by_ids.samples[0].text == echo_text("r", "7 8 9", 1)
    assert by_ids.prompt_tokens == 3
    assert [each.token_id for each in by_ids.prompt_logprobs or ()] == [7, 8, 9]


@pytest.mark.parametrize("prompt", [[-1], [1, 50_000]])
def test_a_token_outside_of_the_vocabulary_is_refused(prompt: list[int]):
    with pytest.raises(RowError, match="the model's are 0 to 49999") as refused:
        generated(asked(prompt))
    assert refused.value.code == "invalid_prompt"


def test_messages_beside_a_raw_prompt_are_refused():
    request = asked("a prompt")
    request.messages = [{"role": "user", "content": "and a chat"}]
    with pytest.raises(RowError, match="has no messages"):
        generated(request)


def test_texts_have_as_many_words_as_the_options_say_and_the_request_allows():
    first, again = (generated(asked(), output_tokens=5).samples[0] for _ in range(2))
    assert first == again
    assert (len(first.text.split(" ")), first.output_tokens, first.finish_reason) == (5, 5, "stop")
    cut = generated(asked(sampling=Sampling(max_tokens=3)), output_tokens=5).samples[0]
    assert first.text.startswith(cut.text)
    assert (cut.output_tokens, cut.finish_reason) == (3, "length")


def test_log_probabilities_are_told_of_every_word_and_make_up_the_text():
    request = asked(sampling=Sampling(max_tokens=50, logprobs=3), prompt_logprobs=2)
    result = generated(request, output_tokens=6)
    told = result.samples[0].logprobs or []
    assert "".join(each.token for each in told) == result.samples[0].text
    for each in told:
        assert each.logprob is not None
        assert -4 <= each.logprob <= 0
        assert each.top[0] == (each.token_id, each.token, each.logprob)
        assert [value for _, _, value in each.top] == sorted((v for _, _, v in each.top), reverse=True)
        assert len(each.top) == 3
    prompt = result.prompt_logprobs or []
    assert [each.token for each in prompt] == ["two", " words"]
    assert prompt[0].logprob is None
    assert prompt[1].logprob is not None


def test_a_stream_comes_word_by_word_and_is_what_comes_whole():
    request = asked(seeds=[5, 6], sampling=Sampling(max_tokens=50, logprobs=1), prompt_logprobs=0)
    whole = generated(request, output_tokens=4)
    found = with_echo(lambda engine: chunks(engine, request), output_tokens=4)
    assert len(found) == 8
    for index, sample in enumerate(whole.samples):
        own = [chunk for chunk in found if chunk.index == index]
        assert "".join(chunk.text for chunk in own) == sample.text
        assert [each for chunk in own for each in chunk.logprobs or ()] == sample.logprobs
        assert [chunk.finish_reason for chunk in own] == [None, None, None, "stop"]
        assert [chunk.output_tokens for chunk in own] == [1, 2, 3, 4]
    assert (found[0].prompt_tokens, found[0].cached_tokens) == (2, 0)
    assert found[0].prompt_logprobs == whole.prompt_logprobs
    assert {chunk.prompt_tokens for chunk in found[1:]} == {None}


def test_a_digest_is_streamed_in_one_piece():
    [only] = with_echo(lambda engine: chunks(engine, asked()))
    assert (only.text, only.finish_reason) == (echo_text("r", "two words", 1), "stop")


@pytest.mark.parametrize("streamed", [False, True])
def test_who_leaves_frees_the_slot_at_once(streamed: bool):
    async def work(engine: EchoEngine) -> None:
        begin = (lambda: chunks(engine, asked())) if streamed else (lambda: engine.generate(asked()))
        running, queued = asyncio.ensure_future(begin()), asyncio.ensure_future(begin())
        await asyncio.sleep(0.01)
        assert (engine.stats.in_flight, engine.stats.waiting) == (1, 1)
        queued.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (engine.stats.in_flight, engine.stats.waiting) == (1, 0)
        running.cancel()
        await asyncio.gather(running, queued, return_exceptions=True)
        assert (engine.stats.in_flight, engine.stats.waiting) == (0, 0)

    with_echo(work, delay_s=3000, concurrency=1, output_tokens=1000)


def test_a_stream_that_is_not_read_to_its_end_frees_its_slot():
    async def work(engine: EchoEngine) -> int:
        stream = engine.stream(asked())
        await anext(stream)
        assert engine.stats.in_flight == 1
        await stream.aclose()  # type: ignore[attr-defined]
        return engine.stats.in_flight

    assert with_echo(work, delay_s=0.01, output_tokens=2) == 0


def test_vectors_depend_on_what_is_embedded_alone():
    request = EmbedRequest("r", ["a text", "another", Media(b"\x89PNG", "image/png")])
    result = with_echo(lambda engine: engine.embed(request), family="embedder", width=5)
    assert result.vectors.shape == (3, 5)
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, rtol=1e-5)
    assert result.usage == {"encoded_tokens": 3, "images": 1}
    alone = with_echo(lambda engine: engine.embed(EmbedRequest("s", ["another"])), family="embedder", width=5)
    assert (alone.vectors[0] == result.vectors[1]).all()
    none = with_echo(lambda engine: engine.embed(EmbedRequest("s", [])), family="embedder")
    assert none.vectors.shape == (0, 8)


def test_a_likelihood_is_that_of_the_words():
    chat = [{"role": "user", "content": "two words"}]
    request = LikelihoodRequest("r", ["yes", "yes it is", ""], chat)
    result = with_echo(lambda engine: engine.likelihood(request))
    assert result.tokens == [1, 3, 0]
    assert result.logprobs[1] < result.logprobs[0] < result.logprobs[2] == 0
    assert result.usage == {"prompt_tokens": 6}


def test_an_embedder_tells_no_likelihood_and_a_language_model_embeds_nothing():
    with pytest.raises(RowError, match="embeds no texts"):
        with_echo(lambda engine: engine.embed(EmbedRequest("r", ["a"])))
    with pytest.raises(RowError, match="tells no likelihood"):
        with_echo(lambda engine: engine.likelihood(LikelihoodRequest("r", ["a"])), family="embedder")
