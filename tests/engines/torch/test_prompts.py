"""Raw prompts, the log-probabilities of prompts and of streamed tokens, and what of a prompt was taken over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateChunk, GenerateRequest, GenerateResult
from raygen.engines.torch.engine import TorchEngine
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel
from tests.fakes.running import with_engine
from tests.fakes.tiny_llama import save_tiny, tiny_model, tiny_tokenizer

LONG = "the thin cat in the inn, and xyz " * 12


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), tiny_model(max_position_embeddings=800))


def with_model(folder: Path, work: Callable[[TorchEngine], Awaitable[Any]], **options: Any) -> Any:
    spec = ModelSpec(family="causal_lm", engine="torch", ref=str(folder), options={"threads": 1, **options})
    return with_engine(TorchEngine(ResolvedModel("tiny", spec, str(folder), "sha256:0")), work)


def asked(prompt: str | list[int] | None, row: str = "r", **changes: Any) -> GenerateRequest:
    sampling = changes.pop("sampling", Sampling(temperature=0, max_tokens=12))
    return GenerateRequest(row, [], sampling, changes.pop("seeds", [1]), prompt=prompt, **changes)


def answers(folder: Path, *requests: GenerateRequest, **options: Any) -> list[Any]:
    return with_model(
        folder,
        lambda engine: asyncio.gather(*map(engine.generate, requests), return_exceptions=True),
        **options,
    )


def by_transformers(folder: Path, ids: list[int]) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)


def test_a_raw_prompt_is_read_without_a_chat_template_as_text_or_as_tokens(folder: Path):
    ids = tiny_tokenizer()("the <|user|>inn")["input_ids"]
    text, tokens, chat = answers(
        folder,
        asked("the <|user|>inn"),
        asked(ids),
        GenerateRequest("r", [{"role": "user", "content": "the <|user|>inn"}], asked("").sampling, [1]),
    )
    assert text == tokens
    assert text.prompt_tokens == len(ids) == chat.prompt_tokens - 2
    logits = by_transformers(folder, [*ids, *text.samples[0].token_ids])
    greedy = logits[len(ids) - 1 : -1].argmax(-1).tolist()
    assert text.samples[0].token_ids == greedy


def test_what_the_tokenizer_adds_to_a_text_is_added_to_a_prompt(folder: Path, tmp_path: Path):
    from tokenizers.processors import TemplateProcessing

    save_tiny(tmp_path, tiny_model())
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    tokenizer.save_pretrained(tmp_path)
    text, ids, bare = answers(
        tmp_path,
        asked("xyz", prompt_logprobs=0),
        asked([0, *tiny_tokenizer()("xyz")["input_ids"]], prompt_logprobs=0),
        asked("", prompt_logprobs=0),
    )
    assert text == ids
    assert [each.token_id for each in text.prompt_logprobs][:1] == [0]
    assert [each.token_id for each in bare.prompt_logprobs] == [0]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asked([1, 266]), "invalid_prompt"),
        (asked([-1]), "invalid_prompt"),
        (asked("\ud800"), "invalid_text"),
        (asked([5] * 800), "prompt_too_long"),
        (
            GenerateRequest("r", [{"role": "user", "content": "x"}], Sampling(), [1], prompt="y"),
            "invalid_prompt",
        ),
    ],
)
def test_a_prompt_that_cannot_be_read_fails_its_row_alone(folder: Path, request_: GenerateRequest, code: str):
    failed, good = answers(folder, request_, asked("the"))
    assert isinstance(failed, RowError)
    assert failed.code == code
    assert isinstance(good, GenerateResult)


def test_clients_are_not_told_what_a_tokenizer_said_of_a_prompt(folder: Path):
    [failed] = answers(folder, asked("\ud800"))
    assert failed.message.startswith("the tokenizer refuses it: ")
    assert failed.public == "the model's tokenizer refuses the text"


def test_prompt_logprobs_are_what_transformers_computes(folder: Path):
    ids = tiny_tokenizer()(LONG)["input_ids"]
    assert len(ids) > 256, "a prompt in several pieces"
    [result] = answers(folder, asked(LONG, prompt_logprobs=3))
    expected = by_transformers(folder, ids)
    told = result.prompt_logprobs
    assert [each.token_id for each in told] == ids
    assert "".join(each.token for each in told) == LONG
    assert (told[0].logprob, told[0].top) == (None, [])
    for place, each in enumerate(told[1:]):
        assert each.logprob == pytest.approx(float(expected[place, each.token_id]), rel=1e-4, abs=1e-5)
        best = expected[place].topk(3)
        assert [token for token, _, _ in each.top] == best.indices.tolist()


def test_prompt_logprobs_are_the_same_to_the_last_bit_in_any_company(folder: Path):
    prompts = ["x", "the answer", LONG, LONG[3:200]]
    alone = [answers(folder, asked(prompt, prompt_logprobs=2))[0] for prompt in prompts]
    requests = [asked(prompt, row, prompt_logprobs=2) for row in "ab" for prompt in prompts]
    assert answers(folder, *requests, max_batch=3) == [*alone, *alone]


def test_without_seeds_the_prompt_alone_is_told_of(folder: Path):
    told, whole = answers(
        folder, asked("the inn", prompt_logprobs=1, seeds=[]), asked("the inn", prompt_logprobs=1)
    )
    assert (told.samples, told.prompt_logprobs) == ([], whole.prompt_logprobs)
    assert told.usage == {"prompt_tokens": whole.prompt_tokens}


@pytest.mark.parametrize("stop", [(), ("n",)])
def test_a_stream_tells_of_each_token_with_its_text(folder: Path, stop: tuple[str, ...]):
    sampling = Sampling(temperature=1, max_tokens=60, logprobs=2, stop=stop)
    request = asked("the inn", seeds=[1, 2, 3], sampling=sampling, prompt_logprobs=0)

    async def work(engine: TorchEngine) -> tuple[GenerateResult, list[GenerateChunk]]:
        return await engine.generate(request), [chunk async for chunk in engine.stream(request)]

    whole, chunks = with_model(folder, work)
    decode = tiny_tokenizer().decode
    for index, sample in enumerate(whole.samples):
        own = [chunk for chunk in chunks if chunk.index == index]
        assert [each for chunk in own for each in chunk.logprobs] == sample.logprobs
        assert "".join(chunk.text for chunk in own) == sample.text
        said, tokens = "", []
        for chunk in own[:-1]:  # what is told of is in the text that has come
            said += chunk.text
            tokens += [each.token_id for each in chunk.logprobs]
            assert said.startswith(decode(tokens, skip_special_tokens=True))
    assert (chunks[0].prompt_tokens, chunks[0].prompt_logprobs) == (
        whole.prompt_tokens,
        whole.prompt_logprobs,
    )
    assert {chunk.prompt_tokens for chunk in chunks[1:]} == {None}


def test_it_is_told_what_of_a_prompt_was_taken_over(folder: Path):
    async def work(engine: TorchEngine) -> list[int | None]:
        prompts = [LONG, LONG, f"{LONG[:100]}?", "else"]
        return [(await engine.generate(asked(prompt, seeds=[1, 2]))).cached_tokens for prompt in prompts]

    first, again, partly, other = with_model(folder, work)
    assert (first, other) == (0, 0)
    assert 0 < partly < again < len(tiny_tokenizer()(LONG)["input_ids"])
