"""Chat completions: answers and chunks are what the official client reads; what a model cannot keep is refused."""

from __future__ import annotations

import asyncio

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from raygen.engines.echo import EchoEngine
from raygen.models.resolved import ResolvedModel
from raygen.wire.base import Asked, Served
from raygen.wire.chat import ChatCompletions
from raygen.wire.errors import ApiError
from raygen.wire.parse import parse_body
from tests.fakes.text_models import saying, spec_of
from tests.wire.asking import ASKED, answered, streamed

CHAT = ChatCompletions()
HI = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def joined(events, index=0):
    """Return a stream's choice as one message and how it ended."""
    found, finish, calls = {}, None, []
    for event in events:
        ChatCompletionChunk.model_validate(event, strict=True)
        for choice in event["choices"]:
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            for key in ("content", "reasoning_content"):
                if delta.get(key) is not None:
                    found[key] = found.get(key, "") + delta[key]
            calls += [
                {key: value for key, value in call.items() if key != "index"}
                for call in delta.get("tool_calls", ())
            ]
            finish = choice["finish_reason"] or finish
    if calls:
        found["tool_calls"] = calls
    return found, finish


TEXTS = {
    "plain": ("hello there", {}, {}),
    "reasoning": ("<think>\nlet me see\n</think>\n\nit is 4", {"reasoning_tags": True}, {}),
    "opened in the prompt": ("let me see</think>it is 4", {"reasoning_tags": True}, {}),
    "no reasoning": ("it is 4 ", {"reasoning_tags": True}, {}),
    "call": (f"Sure.\n{CALL}", {}, {"tools": TOOLS}),
    "calls": (f"{CALL}\n{CALL}", {}, {"tools": TOOLS}),
    "call after reasoning": (f"<think>add</think>{CALL}", {"reasoning_tags": True}, {"tools": TOOLS}),
    "json": ('{"name": "add", "parameters": {"a": 1}}', {}, {"tools": TOOLS}),
    "json that is no call": ('{"name": "sub", "parameters": {"a": 1}}', {}, {"tools": TOOLS}),
    "broken call": ("<tool_call>{add}</tool_call> then", {}, {"tools": TOOLS}),
    "no call": ("a < b <tool ", {}, {"tools": TOOLS}),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_the_whole_answer_in_pieces_however_it_is_cut(name, size):
    text, spec, body = TEXTS[name]
    whole = answered(CHAT, saying(text, size, **spec), messages=HI, **body)
    ChatCompletion.model_validate(whole, strict=True)
    events = streamed(CHAT, saying(text, size, **spec), messages=HI, **body)
    choice = whole["choices"][0]
    message = {
        key: value
        for key, value in choice["message"].items()
        if value is not None and key not in ("role", "refusal")
    }
    found, finish = joined(events)
    assert {"content": "", **message} == found
    assert choice["finish_reason"] == finish


def test_calls_are_told_apart_from_what_is_said():
    message = answered(CHAT, saying(f"Sure.\n{CALL}"), messages=HI, tools=TOOLS)["choices"][0]["message"]
    assert message["content"] == "Sure."
    assert message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}


def test_the_same_seed_asks_for_the_same_draws_and_another_request_for_others():
    served = saying("x")
    for asked, body in (
        (ASKED, {"seed": 3}),
        (Asked("req_2", 12, 0), {"seed": 3}),
        (ASKED, {}),
        (Asked("req_2", 12, 0), {}),
    ):
        answered(CHAT, served, asked, messages=HI, n=2, **body)
    first, again, own, other = served.engine.asked
    assert first == again
    assert own.seeds != other.seeds
    assert len({*first.seeds, *own.seeds, *other.seeds}) == 6
    assert all(0 <= seed < 2**53 for seed in first.seeds)


def test_an_answer_is_the_same_on_replay():
    body = {"messages": HI, "logprobs": True, "top_logprobs": 2}
    assert answered(CHAT, saying("ab"), **body) == answered(CHAT, saying("ab"), **body)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"functions": []}, "unsupported_parameter", "functions"),
        ({"modalities": ["audio"]}, "unsupported_parameter", "modalities"),
        ({"top_logprobs": 3}, "invalid_value", "top_logprobs"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "invalid_value", "max_tokens"),
        ({"min_tokens": 3, "max_tokens": 2}, "invalid_value", "min_tokens"),
        ({"stream_options": {}}, "invalid_value", "stream_options"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"stop": ""}, "invalid_value", "stop"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"messages": []}, "invalid_value", "messages"),
    ],
)
def test_what_cannot_be_is_refused_by_name(body, code, param):
    with pytest.raises(ApiError) as caught:
        answered(CHAT, saying("x"), **{"messages": HI, **body})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


def test_the_same_body_and_seed_get_the_same_text_from_an_engine_that_draws_on_names():
    model = ResolvedModel("smol", spec_of(), None, "digest")
    found = []

    async def ask(body):
        engine = EchoEngine(model)
        await engine.start()
        for request_id in ("req_1", "req_2"):
            parsed = parse_body(CHAT, {"model": "smol", "messages": HI, **body})
            answer = await CHAT.answer(parsed, Served("smol", engine, model), Asked(request_id, 5, 0))
            found.append(answer.body["choices"][0]["message"]["content"])

    asyncio.run(ask({"seed": 7}))
    asyncio.run(ask({}))
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_stream_ends_with_the_usage_of_the_whole_answer_where_it_is_asked_for():
    body = {"messages": HI, "n": 2}
    served = saying("<think>so</think>it is", reasoning_tags=True)
    *pieces, last = streamed(CHAT, served, stream_options={"include_usage": True}, **body)
    assert (last["choices"], last["usage"]) == ([], answered(CHAT, served, **body)["usage"])
    assert last["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert all(piece["usage"] is None for piece in pieces)
    assert all("usage" not in piece for piece in streamed(CHAT, served, **body))


def test_without_parallel_calls_a_stream_has_one():
    found, finish = joined(
        streamed(CHAT, saying(CALL * 2), messages=HI, tools=TOOLS, parallel_tool_calls=False)
    )
    assert (len(found["tool_calls"]), finish) == (1, "tool_calls")
