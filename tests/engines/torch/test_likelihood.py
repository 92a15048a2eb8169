"""Likelihoods of texts: what transformers computes, to the same bits whatever else there is to do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.echo import EchoEngine
from raygen.engines.requests import GenerateRequest, LikelihoodRequest, LikelihoodResult
from raygen.engines.torch.engine import TorchEngine
from raygen.errors import EngineError, RowError
from raygen.models.resolved import ResolvedModel
from tests.fakes.running import with_engine
from tests.fakes.tiny_llama import know_more, save_tiny, tiny_model, tiny_tokenizer

LONG = "the thin cat in the inn, and xyz " * 26


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), tiny_model(max_position_embeddings=1600))


def engine_of(folder: Path, **options: Any) -> TorchEngine:
    spec = ModelSpec(family="causal_lm", engine="torch", ref=str(folder), options={"threads": 1, **options})
    return TorchEngine(ResolvedModel("tiny", spec, str(folder), "sha256:0"))


def chat(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def ask(*texts: str, prompt: str | None = None) -> LikelihoodRequest:
    return LikelihoodRequest("r", texts, None if prompt is None else chat(prompt))


def likelihoods(engine: TorchEngine, *requests: LikelihoodRequest) -> list[LikelihoodResult]:
    return with_engine(engine, lambda e: asyncio.gather(*map(e.likelihood, requests)))


def by_transformers(folder: Path, before: list[int], text: list[int]) -> float:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[*before, *text]])
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids).logits[0].double(), -1)
    places = range(len(before) - 1, len(before) + len(text) - 1)
    return sum(float(logprobs[place, ids[0, place + 1]]) for place in places)


@pytest.mark.parametrize("prompt", [None, "a question", LONG])
@pytest.mark.parametrize("text", ["x", "the answer is in the inn", LONG])
def test_it_is_what_transformers_computes(folder: Path, prompt: str | None, text: str) -> None:
    found = likelihoods(engine_of(folder), ask(text, prompt=prompt))[0]
    tokenizer = tiny_tokenizer()
    before = (
        [0]
        if prompt is None
        else tokenizer.apply_chat_template(chat(prompt), add_generation_prompt=True)["input_ids"]
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert (found.tokens, found.prompt_tokens) == ([len(ids)], len(before))
    assert found.logprobs[0] == pytest.approx(by_transformers(folder, before, ids), rel=1e-5)


def test_the_bits_are_the_same_whatever_the_batch(folder: Path) -> None:
    texts = ["x", "the answer", LONG, LONG[3:300], "in an inn " * 9]
    prompts = [None, "why?", LONG[:500]]
    places = [(prompt, text) for prompt in prompts for text in texts]

    async def one_by_one(engine: TorchEngine) -> list[float]:
        return [(await engine.likelihood(ask(text, prompt=prompt))).logprobs[0] for prompt, text in places]

    alone = dict(zip(places, with_engine(engine_of(folder), one_by_one), strict=True))
    assert len(set(alone.values())) == len(alone)

    async def among_others(engine: TorchEngine) -> list[LikelihoodResult]:
        sampling = Sampling(temperature=1, max_tokens=30)
        others = [
            engine.generate(GenerateRequest(f"g{n}", chat(f"{LONG[: 40 * n]}?"), sampling, [n, n + 1]))
            for n in range(5)
        ]
        asked = [engine.likelihood(ask(*texts[::step], prompt=p)) for p in prompts for step in (1, -1, 2)]
        return (await asyncio.gather(*asked, *others))[: len(asked)]

    for options in ({}, {"max_batch": 3, "prompt_tokens_per_step": 256, "kv_cache_gib": 0.0016}):
        found = iter(with_engine(engine_of(folder, **options), among_others))
        for prompt in prompts:
            for step in (1, -1, 2):
                assert next(found).logprobs == [alone[prompt, text] for text in texts[::step]]


def test_samples_are_the_same_beside_it(folder: Path) -> None:
    request = GenerateRequest("g", chat("tell"), Sampling(temperature=1, max_tokens=50), [1, 2, 3])
    alone = with_engine(engine_of(folder), lambda engine: engine.generate(request))

    async def beside(engine: TorchEngine) -> Any:
        found = await asyncio.gather(
            engine.generate(request), *(engine.likelihood(ask(LONG, prompt=f"{n}")) for n in range(4))
        )
        return found[0]

    assert with_engine(engine_of(folder), beside) == alone


def test_its_slot_may_move_while_it_is_computed(folder: Path) -> None:
    texts = [f"an inn, the {n}th, is a thin thing to think about" for n in range(100)]
    request = ask(*texts, prompt="in an inn")
    alone = likelihoods(engine_of(folder), request)[0]

    async def beside(engine: TorchEngine) -> tuple[LikelihoodResult, set[int]]:
        places: set[int] = set()
        decoder = engine._likelihoods._decoder
        forward = decoder.forward_piece

        def watched(span: Any, *arguments: Any) -> Any:
            places.add(span.slot.index)
            return forward(span, *arguments)

        decoder.forward_piece = watched  # type: ignore[method-assign]
        samplings = [Sampling(temperature=0, max_tokens=n, min_tokens=n) for n in range(6, 24, 3)]
        samples = [
            asyncio.create_task(engine.generate(GenerateRequest("g", chat(f"{n}"), sampling, [n])))
            for n, sampling in enumerate(samplings)
        ]
        while engine._stepper.running < len(samples):
            await asyncio.sleep(0.001)
        found = await engine.likelihood(request)
        await asyncio.gather(*samples)
        return found, places

    found, places = with_engine(engine_of(folder, prompt_tokens_per_step=256), beside)
    assert len(places) > 1  # samples that end leave holes, which the last slot fills
    assert found == alone


def test_a_sample_that_was_generated_has_the_probability_that_it_was_drawn_with(folder: Path) -> None:
    letters = tiny_tokenizer()("qwkzj", add_special_tokens=False)["input_ids"]  # no two make one token
    bias = dict.fromkeys(letters, 100.0)  # log-probabilities are told without it

    async def both(engine: TorchEngine) -> tuple[float, float]:
        sampling = Sampling(temperature=1, max_tokens=30, logprobs=0, logit_bias=bias)
        sample = (await engine.generate(GenerateRequest("g", chat("tell"), sampling, [3]))).samples[0]
        drawn = sum(each.logprob for each in sample.logprobs or ())
        return drawn, (await engine.likelihood(ask(sample.text, prompt="tell"))).logprobs[0]

    drawn, found = with_engine(engine_of(folder), both)
    assert found == pytest.approx(drawn, rel=1e-5)


def test_what_cannot_be_done_fails_its_row_alone(folder: Path) -> None:
    async def work(engine: TorchEngine) -> list[Any]:
        asked = [ask(LONG * 4), ask("fine"), ask("x", prompt=LONG * 4), ask(), ask("", "x", "")]
        asked += [
            LikelihoodRequest("r", ["x"], None, "de"),
            LikelihoodRequest("r", ["x"], [{"role": "user"}]),
        ]
        return await asyncio.gather(*map(engine.likelihood, asked), return_exceptions=True)

    found = with_engine(engine_of(folder), work)
    codes = [each.code if isinstance(each, RowError) else None for each in found]
    assert codes == [
        "prompt_too_long",
        None,
        "prompt_too_long",
        None,
        None,
        "unknown_adapter",
        "invalid_messages",
    ]
    assert found[3] == LikelihoodResult([], [], 0)
    assert (found[4].logprobs[::2], found[4].tokens) == ([0.0, 0.0], [0, 1, 0])


def test_numbers_that_are_none_fail_the_row_and_leave_nothing_behind(folder: Path) -> None:
    async def work(engine: TorchEngine) -> tuple[Any, ...]:
        before = await engine.likelihood(ask("the"))
        weight = engine._lm.model.model.layers[0].input_layernorm.weight  # keys and values go wrong too
        with torch.no_grad():
            kept = weight.clone()
            weight.fill_(float("nan"))
        broken = await asyncio.gather(engine.likelihood(ask(LONG, "x")), return_exceptions=True)
        with torch.no_grad():
            weight.copy_(kept)
        return before, broken[0], await engine.likelihood(ask("the"))

    before, broken, after = with_engine(engine_of(folder), work)
    assert isinstance(broken, RowError)
    assert broken.code == "nan_logits"
    assert after == before


def test_a_cancelled_request_frees_its_slot(folder: Path) -> None:
    async def work(engine: TorchEngine) -> tuple[LikelihoodResult, int, int]:
        task = asyncio.create_task(engine.likelihood(ask(*[LONG] * 50)))
        while (scoring := engine._likelihoods._now) is None:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = await engine.likelihood(ask("x"))
        return found, engine._stepper._memory.used, len(scoring.logprobs)

    found, used, computed = with_engine(engine_of(folder), work)
    assert (found, used) == (likelihoods(engine_of(folder), ask("x"))[0], 0)
    assert computed < 50


def test_a_broken_or_closed_engine_keeps_nobody_waiting(folder: Path) -> None:
    async def work(engine: TorchEngine) -> Any:
        engine._stepper._decoder.forward_piece = None  # type: ignore[method-assign,assignment]
        return await asyncio.gather(engine.likelihood(ask("x")), return_exceptions=True)

    assert isinstance(with_engine(engine_of(folder), work)[0], EngineError)
    engine = engine_of(folder)
    with_engine(engine, lambda e: e.likelihood(ask("x")))
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(engine.likelihood(ask("x")))


def test_other_engines_say_that_they_cannot() -> None:
    spec = ModelSpec(family="classifier", engine="echo")
    engine = EchoEngine(ResolvedModel("echo", spec, None, "echo"))
    with pytest.raises(RowError, match="tells no likelihood") as refused:
        asyncio.run(engine.likelihood(ask("x")))
    assert refused.value.code == "engine_unsupported"


@pytest.mark.parametrize("request_", [ask("an <odd> text"), ask("a text", prompt="an <odd> prompt")])
def test_a_token_that_the_model_has_no_row_for_fails_its_row_alone(
    tmp_path: Path, request_: LikelihoodRequest
) -> None:
    async def work(engine: TorchEngine) -> LikelihoodResult:
        with pytest.raises(RowError, match="'<odd>' as token") as failed:
            await engine.likelihood(request_)
        assert failed.value.code == "invalid_text"
        return await engine.likelihood(ask("the text"))

    found = with_engine(engine_of(know_more(save_tiny(tmp_path), "<odd>")), work)
    assert found.logprobs[0] < 0
