"""The sampling that a body means, and seeds."""

from __future__ import annotations

from raygen.wire.chat import ChatCompletions
from raygen.wire.completions import Completions
from raygen.wire.parse import parse_body
from raygen.wire.text.body import seeds
from tests.fakes.text_models import saying
from tests.wire.asking import answered

HI = [{"role": "user", "content": "hi"}]


def sampling(**body):
    served = saying("x")
    answered(ChatCompletions(), served, messages=HI, **body)
    return served.engine.asked[0].sampling


def test_settings_reach_the_engine():
    found = sampling(
        temperature=0,
        top_p=0.5,
        top_k=3,
        min_p=0.1,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        logit_bias={"7": -100},
        stop=["a", "b"],
        stop_token_ids=[2],
        max_completion_tokens=9,
        min_tokens=2,
        logprobs=True,
        top_logprobs=4,
    )
    assert found.model_dump() == {
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 3,
        "min_p": 0.1,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "repetition_penalty": 1.1,
        "logit_bias": {7: -100.0},
        "stop": ("a", "b"),
        "stop_token_ids": (2,),
        "max_tokens": 9,
        "min_tokens": 2,
        "logprobs": 4,
    }


def test_null_is_unset():
    keys = (
        "temperature",
        "top_p",
        "stop",
        "seed",
        "n",
        "logit_bias",
        "max_tokens",
        "logprobs",
        "tools",
        "stream",
    )
    assert sampling(**dict.fromkeys(keys)) == sampling()


def test_words_of_other_servers_are_understood():
    assert sampling(top_k=-1).top_k == 0
    assert 0 < sampling(top_p=0).top_p < 1e-6
    assert sampling(stop="end").stop == ("end",)


def test_seeds_depend_on_their_place_alone():
    assert seeds(5, 3) == seeds(5, 4)[:3]
    assert seeds(5, 1) != seeds(5, 1, prompt=1)
    assert all(0 <= seed < 2**53 for seed in seeds(-(2**63), 50))


def test_what_is_reserved_grows_with_what_is_asked():
    def held(endpoint, **body):
        return endpoint.reserve(parse_body(endpoint, {"model": "m", **body}))

    chat = ChatCompletions()
    assert held(chat, messages=HI, max_tokens=10, n=3)["output_tokens"] == 30
    long = [{"role": "user", "content": "a" * 1000}]
    assert 250 <= held(chat, messages=long)["prompt_tokens"] <= 1000
    prompts = held(Completions(), prompt=[[1] * 100] * 2, n=2, max_tokens=5)
    assert (prompts["prompt_tokens"], prompts["output_tokens"]) == (216, 20)
