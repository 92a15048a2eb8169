"""Completions: prompts as texts and tokens, echo with log-probabilities, several prompts, streams."""

from __future__ import annotations

import pytest
from openai.types import Completion

from raygen.wire.completions import Completions
from raygen.wire.errors import ApiError
from tests.fakes.text_models import saying
from tests.wire.asking import answered, streamed

PROSE = Completions()


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a b", ["a b"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_prompts_reach_the_engine_as_they_are(prompt, prompts):
    served = saying("and so on")
    found = answered(PROSE, served, prompt=prompt, n=2)
    Completion.model_validate(found, strict=True)
    assert [request.prompt for request in served.engine.asked] == prompts
    assert [choice["index"] for choice in found["choices"]] == list(range(2 * len(prompts)))
    assert found["usage"]["prompt_tokens"] == 5 * len(prompts)


def test_echo_tells_of_the_prompt_and_what_follows():
    found = answered(PROSE, saying("dd", 1), prompt="a b c", echo=True, logprobs=1)["choices"][0]
    assert found["text"] == "a b cdd"
    told = found["logprobs"]
    assert told["tokens"] == ["a", " b", " c", "d", "d"]
    assert told["token_logprobs"] == [None, -1.0, -1.0, -0.5, -0.5]
    assert told["top_logprobs"][0] is None
    assert told["top_logprobs"][1] == {" b": -1.0}
    assert told["text_offset"] == [0, 1, 3, 5, 6]


def test_a_prompt_alone_is_scored():
    served = saying("never said")
    found = answered(PROSE, served, prompt=[[4, 5], [6]], max_tokens=0, echo=True, logprobs=1)
    assert [request.seeds for request in served.engine.asked] == [[], []]
    assert [choice["text"] for choice in found["choices"]] == ["45", "6"]
    assert found["choices"][0]["logprobs"]["token_logprobs"] == [None, -1.0]
    assert found["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    "body",
    [{}, {"n": 2}, {"echo": True, "logprobs": 2}, {"echo": True, "max_tokens": 0, "logprobs": 0}],
)
def test_a_stream_is_the_whole_answer_in_pieces(size, body):
    body = {"prompt": ["a b", "c"], **body}
    whole = answered(PROSE, saying("one two", size), **body)
    events = streamed(PROSE, saying("one two", size), stream_options={"include_usage": True}, **body)
    *pieces, last = events
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert {piece["usage"] for piece in pieces} == {None}
    for choice in whole["choices"]:
        mine = [each for piece in pieces for each in piece["choices"] if each["index"] == choice["index"]]
        assert "".join(each["text"] for each in mine) == choice["text"]
        assert [each["finish_reason"] for each in mine][-1] == choice["finish_reason"]
        if choice["logprobs"] is not None:
            for key in ("tokens", "token_logprobs", "text_offset"):
                assert [one for each in mine for one in each["logprobs"][key]] == choice["logprobs"][key]


def test_a_seed_of_the_body_means_the_same_for_each_prompt_and_else_each_prompt_has_its_own():
    served = saying("x")
    answered(PROSE, served, prompt=["a", "a"], seed=1)
    answered(PROSE, served, prompt=["a", "a"])
    first, second, third, fourth = (request.seeds for request in served.engine.asked)
    assert first == second
    assert third != fourth


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"suffix": "x"}, "unsupported_parameter", "suffix"),
        ({"best_of": 2}, "unsupported_parameter", "best_of"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"logprobs": 21}, "invalid_value", "logprobs"),
        ({"prompt": []}, "invalid_value", "prompt"),
        ({"prompt": [[1], "a"]}, "invalid_value", "prompt"),
        ({"prompt": [[1], ["a"]]}, "invalid_value", "prompt"),
        ({"prompt": [-1]}, "invalid_value", "prompt"),
        ({"prompt": ["a"] * 2049}, "invalid_value", "prompt"),
        ({"prompt": ["a"] * 2000, "n": 100}, "invalid_value", "n"),
    ],
)
def test_what_cannot_be_is_refused_by_name(body, code, param):
    with pytest.raises(ApiError) as caught:
        answered(PROSE, saying("x"), **{"prompt": "a", **body})
    assert (caught.value.code, caught.value.param) == (code, param)


def test_one_prompt_that_fails_ends_the_others():
    served = saying("x")
    served.engine.wait_s = 30.0
    generate = served.engine.generate

    async def failing(request):
        if request.prompt == "bad":
            raise ApiError(400, "invalid_value", "bad")
        return await generate(request)

    served.engine.generate = failing
    with pytest.raises(ApiError):
        answered(PROSE, served, prompt=["a", "bad", "b"])
