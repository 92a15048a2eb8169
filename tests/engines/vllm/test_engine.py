"""The vLLM engine over a process that only says what vLLM would: prompts, log-probabilities in streams, priorities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.requests import BATCH, GenerateRequest
from raygen.engines.vllm.engine import VLLMEngine
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel
from raygen.models.text.chat_tokenizer import ChatTokenizer
from tests.fakes.tiny_llama import tiny_tokenizer

SAID = [("t", [1]), ("", [2]), ("he", [3, 4])]  # text and tokens, as they come


class Process:
    """Says the same of every sample, and keeps what it was asked."""

    context, vocabulary = 100, 266

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], int]] = []

    async def ask(
        self, prompt: list[int], params: Any, adapter: Any, structured: Any, *, stream: bool, priority: int
    ) -> AsyncGenerator[Any, None]:
        self.asked.append((prompt, priority))
        said = SAID if stream else [("the", [1, 2, 3, 4])]
        for number, (text, tokens) in enumerate(said, 1):
            found = [{token: SimpleNamespace(logprob=-token / 2)} for token in tokens]
            reason = "stop" if number == len(said) else None
            part = SimpleNamespace(text=text, token_ids=tokens, logprobs=found, finish_reason=reason)
            yield SimpleNamespace(outputs=[part], num_cached_tokens=3)

    def close(self) -> None:
        """Nothing was started."""


def engine_of(**options: Any) -> tuple[VLLMEngine, Process]:
    spec = ModelSpec(family="causal_lm", engine="vllm", ref="somewhere", options=options)
    engine, process = VLLMEngine(ResolvedModel("m", spec, None, "d")), Process()
    engine._process, engine._broken = process, None  # type: ignore[assignment]
    engine._worker = ThreadPoolExecutor(1)
    engine._chat = ChatTokenizer(tiny_tokenizer(), frozenset({1}), 100, rows=266)
    return engine, process


def asked(**changes: Any) -> GenerateRequest:
    given = {"sampling": Sampling(max_tokens=9, logprobs=1), "seeds": [1], "prompt": [5, 6, 7, 8], **changes}
    return GenerateRequest("r", [], **given)


def test_a_raw_prompt_goes_on_as_it_is_and_cached_tokens_are_told():
    engine, process = engine_of()
    result = asyncio.run(engine.generate(asked(prompt="the xyz")))
    assert process.asked == [(tiny_tokenizer()("the xyz")["input_ids"], 0)]
    assert (result.cached_tokens, result.samples[0].text) == (3, "the")


def test_a_stream_tells_each_token_with_the_text_that_it_belongs_to():
    engine, process = engine_of()

    async def stream() -> list[Any]:
        return [chunk async for chunk in engine.stream(asked())]

    first, last = asyncio.run(stream())
    assert process.asked[0][0] == [5, 6, 7, 8]
    assert (first.text, [each.token_id for each in first.logprobs]) == ("t", [1])
    assert (last.text, [each.token_id for each in last.logprobs]) == ("he", [2, 3, 4])
    assert [each.logprob for each in last.logprobs] == [-1.0, -1.5, -2.0]
    assert (first.prompt_tokens, first.cached_tokens, last.prompt_tokens) == (4, 3, None)


@pytest.mark.parametrize(("options", "told"), [({}, 0), ({"priorities": True}, BATCH)])
def test_a_priority_is_told_to_a_vllm_that_goes_by_it(options: dict[str, Any], told: int):
    engine, process = engine_of(**options)
    asyncio.run(engine.generate(asked(priority=BATCH)))
    assert process.asked[0][1] == told


def test_what_it_does_not_tell_is_refused():
    engine, _ = engine_of()
    with pytest.raises(RowError, match="does not tell how probable the tokens of a prompt are") as refused:
        asyncio.run(engine.generate(asked(prompt_logprobs=1)))
    assert refused.value.code == "engine_unsupported"
