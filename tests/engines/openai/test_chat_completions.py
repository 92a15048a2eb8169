from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from raygen.config.constraint import Constraint
from raygen.config.sampling import Sampling
from raygen.engines.openai.chat_completions import Action, Answer, Trouble, read_answer, request_body
from raygen.engines.requests import GeneratedSample, GenerateRequest, TokenLogprob
from raygen.errors import RowError

MESSAGES = [{"role": "user", "content": "Hello"}]


def body_of(sampling: Sampling, messages: Any = MESSAGES, **options: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"samples": 1, "seed": 7, "max_tokens_field": "max_tokens", "extra": {}}
    request = GenerateRequest("r", messages, sampling, [7])
    return orjson.loads(request_body("m", request, **(defaults | options)))


def test_the_body_leaves_out_what_is_at_its_default():
    assert body_of(Sampling(temperature=0, max_tokens=5)) == {
        "model": "m", "messages": MESSAGES, "temperature": 0, "max_tokens": 5, "seed": 7,
    }  # fmt: skip


def test_the_body_holds_all_that_is_set():
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=40, max_tokens=5, stop=("END",))
    body = body_of(
        sampling, samples=3, seed=None, max_tokens_field="max_completion_tokens", extra={"min_p": 0.1}
    )
    assert body == {
        "model": "m", "messages": MESSAGES, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop": ["END"],
        "max_completion_tokens": 5, "n": 3, "min_p": 0.1,
    }  # fmt: skip


def test_every_setting_that_is_not_at_its_default_is_sent():
    changed = {
        "min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "logit_bias": {7: -100.0}, "min_tokens": 3, "stop_token_ids": (1, 2), "logprobs": 0,
        "temperature": 0.25, "top_p": 0.5, "top_k": 9, "max_tokens": 11, "stop": ("END",),
    }  # fmt: skip
    assert set(changed) == set(Sampling.model_fields), "a new setting must be sent, or refused"
    body = body_of(Sampling(**changed))
    expected = changed | {"logit_bias": {"7": -100.0}, "stop": ["END"], "stop_token_ids": [1, 2]}
    expected |= {"logprobs": True, "top_logprobs": 0, "model": "m", "messages": MESSAGES, "seed": 7}
    assert body == expected


def test_a_token_mask_is_refused():
    request = GenerateRequest("r", MESSAGES, Sampling(), [7], token_mask=lambda tokens: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(RowError, match="takes no token mask") as caught:
        request_body("m", request, samples=1, seed=7, max_tokens_field="max_tokens", extra={})
    assert caught.value.code == "engine_unsupported"


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ({"json_schema": {"type": "object", "properties": {"z": {"type": "null"}, "a": {"const": 1}}}},
         {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema":
             {"type": "object", "properties": {"z": {"type": "null"}, "a": {"const": 1}}}}}}),
        ({"choice": ["yes", "no"]}, {"structured_outputs": {"choice": ["yes", "no"]}}),
        ({"regex": "[a-z]+"}, {"structured_outputs": {"regex": "[a-z]+"}}),
        ({"grammar": 'start: "a"'}, {"structured_outputs": {"grammar": 'start: "a"'}}),
    ],
)  # fmt: skip
def test_a_constraint_is_sent_as_openai_has_it_or_else_vllm(
    constraint: dict[str, Any], fields: dict[str, Any]
):
    request = GenerateRequest(
        "r", MESSAGES, Sampling(), [7], constraint=Constraint.model_validate(constraint)
    )
    raw = request_body("m", request, samples=1, seed=7, max_tokens_field="max_tokens", extra={})
    body = orjson.loads(raw)
    assert {name: body.get(name) for name in fields} == fields
    assert body.keys() - fields.keys() == body_of(Sampling()).keys()
    if "json_schema" in constraint:
        assert raw.index(b'"z"') < raw.index(b'"a"')  # the order of its keys is that of the answer's


def test_integers_of_any_size_are_sent_as_they_are():
    large = 12345678901234567890123
    request = GenerateRequest("r", [{"role": "user", "content": "x", "account": large}], Sampling(), [7])
    raw = request_body("m", request, samples=1, seed=7, max_tokens_field="max_tokens", extra={})
    assert b'"account":12345678901234567890123' in raw


def test_log_probabilities_are_read():
    given = choice(0) | {
        "logprobs": {
            "content": [
                {
                    "token": "Hi",
                    "logprob": -0.5,
                    "bytes": [72, 105],
                    "top_logprobs": [{"token": "Ho", "logprob": -1}],
                },
                {"token": "!", "logprob": -2},
            ]
        }
    }
    answer = read({"choices": [given]})
    assert isinstance(answer, Answer)
    assert answer.samples[0].logprobs == [
        TokenLogprob(None, "Hi", -0.5, [(None, "Ho", -1.0)]),
        TokenLogprob(None, "!", -2.0),
    ]
    for nothing in (None, {}, {"content": None}):
        answer = read({"choices": [choice(0) | {"logprobs": nothing}]})
        assert isinstance(answer, Answer)
        assert answer.samples[0].logprobs is None
    for odd in (
        {"content": [{"token": "x"}]},
        {"content": [{"token": 5, "logprob": 0}]},
        {"tokens": ["a"]},
        [1],
        "x",
    ):
        answer = read({"choices": [choice(0) | {"logprobs": odd}]})
        assert isinstance(answer, Answer)
        assert (answer.samples[0].text, answer.samples[0].logprobs, answer.without_logprobs) == (
            "text",
            None,
            1,
        )


def test_log_probabilities_in_the_old_form_are_read():
    old = {
        "tokens": ["fi", "ne"],
        "token_logprobs": [None, -0.2],
        "top_logprobs": [None, {"ne": -0.2, "sh": -2}],
        "text_offset": [0, 2],
    }
    answer = read({"choices": [choice(0) | {"logprobs": old}]})
    assert isinstance(answer, Answer)
    assert answer.samples[0].logprobs == [
        TokenLogprob(None, "fi", None),
        TokenLogprob(None, "ne", -0.2, [(None, "ne", -0.2), (None, "sh", -2.0)]),
    ]
    assert answer.without_logprobs == 1
    bare = read({"choices": [choice(0) | {"logprobs": {"tokens": ["a"], "token_logprobs": [-1]}}]})
    assert isinstance(bare, Answer)
    assert bare.samples[0].logprobs == [TokenLogprob(None, "a", -1.0)]
    assert bare.without_logprobs == 0


@pytest.mark.parametrize("odd", [b"null", b"-Infinity", b"NaN", b'"-0.5"', b"true", b"1e999"])
def test_a_log_probability_that_is_no_number_is_null_and_costs_nothing_else(odd: bytes):
    raw = (
        b'{"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "fine"}, "logprobs": {"content": '
        b'[{"token": "fi", "logprob": -0.5}, {"token": "\\ud83d", "logprob": ODD, "top_logprobs": '
        b'[{"token": "x", "logprob": ODD}]}]}}]}'
    ).replace(b"ODD", odd)
    answer = read_answer(200, raw, 1, None)
    assert isinstance(answer, Answer)
    assert answer.samples[0].text == "fine"
    assert answer.samples[0].logprobs == [
        TokenLogprob(None, "fi", -0.5),
        TokenLogprob(None, "?", None, [(None, "x", None)]),
    ]
    assert answer.without_logprobs == 1


@pytest.mark.parametrize("content", ["half a pair \ud800", b"bytes"])
def test_what_json_cannot_hold_is_the_rows_fault(content: Any):
    with pytest.raises(RowError, match="JSON") as caught:
        body_of(Sampling(), [{"role": "user", "content": content}])
    assert caught.value.code == "bad_request"


def choice(index: int, content: Any = "text", reason: str | None = "stop") -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": reason}


def read(body: Any, wanted: int = 1) -> Answer | Trouble:
    return read_answer(200, orjson.dumps(body), wanted, None)


def test_choices_come_in_order_with_their_reasons_and_an_even_share_of_the_tokens():
    choices = [choice(2, "c", "content_filter"), choice(0, "a", "length"), choice(1, "b", "tool_calls")]
    usage = {"prompt_tokens": 9, "completion_tokens": 11}
    assert read({"choices": choices, "usage": usage}, 3) == Answer(
        [
            GeneratedSample("a", "length", 5),
            GeneratedSample("b", "tool_calls", 3),
            GeneratedSample("c", "content_filter", 3),
        ],
        prompt_tokens=9,
        has_usage=True,
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}], "ab"),
    ],
)
def test_content_may_be_absent_or_in_parts(content: Any, text: str):
    answer = read({"choices": [choice(0, content)], "error": None})
    assert isinstance(answer, Answer)
    assert answer.samples[0].text == text


@pytest.mark.parametrize(
    ("usage", "prompt", "output"),
    [
        (None, None, None),
        ([1], None, None),
        ("none", None, None),
        ({"prompt_tokens": "7", "completion_tokens": 3.0}, 7, 3),
        ({"prompt_tokens": 7.5, "completion_tokens": -1}, None, None),
        ({"prompt_tokens": True, "completion_tokens": "many"}, None, None),
        ({"prompt_tokens": 2**70, "completion_tokens": float(2**60)}, None, None),
        ({"prompt_tokens": 7, "completion_tokens": None}, 7, None),
    ],
)
def test_tokens_that_cannot_be_read_are_null_and_that_is_said(
    usage: Any, prompt: int | None, output: int | None
):
    raw = json.dumps({"choices": [choice(0, reason=None)], "usage": usage}).encode()
    whole = prompt is not None and output is not None
    assert read_answer(200, raw, 1, None) == Answer(
        [GeneratedSample("text", "unknown", output)], prompt, whole
    )


@pytest.mark.parametrize("index", [None, "0", 0, 1.5, True])
def test_choices_without_numbers_of_their_own_stay_as_they_came(index: Any):
    choices = [choice(0, "a") | {"index": index}, choice(0, "b") | {"index": index}]
    answer = read({"choices": choices}, 2)
    assert isinstance(answer, Answer)
    assert [sample.text for sample in answer.samples] == ["a", "b"]


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("stop", "stop"), ("STOP", "stop"), ("eos_token", "stop"), ("end_turn", "stop"), ("length", "length"),
        ("MAX_TOKENS", "length"), ("function_call", "tool_calls"), ("tool_use", "tool_calls"), ("SAFETY", "content_filter"),
        ("sensitive", "content_filter"), (None, "unknown"), ("", "unknown"), ("null", "unknown"),
    ],
)  # fmt: skip
def test_servers_words_for_how_a_text_ended_are_known(word: str | None, finish: str):
    answer = read({"choices": [choice(0, reason=word)]})
    assert isinstance(answer, Answer)
    assert answer.samples[0].finish_reason == finish


@pytest.mark.parametrize(
    "word", ["error", "abort", "network_error", "insufficient_system_resource", "nonsense", 7]
)
def test_a_fragment_is_no_answer(word: Any):
    broken = choice(0, "The capital of France is Pa", word)
    trouble = read({"choices": [broken | {"error": {"code": 502, "message": "provider\nis gone"}}]})
    assert trouble == Trouble(
        Action.RETRY, "bad_answer", f"the answer broke off with finish_reason {word!r}: provider is gone"
    )
    assert isinstance(read({"choices": [broken]}), Trouble)
    rest = read(
        {"choices": [broken, choice(1, "Paris")], "usage": {"prompt_tokens": 1, "completion_tokens": 9}}, 2
    )
    assert isinstance(rest, Answer)
    assert rest.samples == [GeneratedSample("Paris", "stop", 5)]


def test_an_error_beside_a_text_is_no_answer():
    for place in (
        {"choices": [choice(0) | {"error": "gone"}]},
        {"choices": [choice(0)], "error": {"code": 502}},
    ):
        trouble = read(place)
        assert isinstance(trouble, Trouble)
        assert (trouble.action, trouble.code) == (Action.RETRY, "bad_answer")
        assert "gone" in trouble.message or trouble.message.endswith(': {"code": 502}')


def test_what_comes_beside_the_text_is_kept():
    calls = [
        {
            "id": "1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a": 12345678901234567890123}'},
        }
    ]
    said = {"content": None, "reasoning_content": "hm", "refusal": "I won't", "tool_calls": calls}
    answer = read({"choices": [choice(0, reason="tool_calls") | {"message": said}]})
    assert isinstance(answer, Answer)
    [sample] = answer.samples
    assert (sample.text, sample.finish_reason) == ("", "tool_calls")
    assert (sample.reasoning, sample.refusal, json.loads(sample.tool_calls or "")) == ("hm", "I won't", calls)
    old = {"content": "x", "reasoning": "hm", "refusal": "", "tool_calls": [], "function_call": {"name": "f"}}
    answer = read({"choices": [choice(0) | {"message": old}]})
    assert isinstance(answer, Answer)
    [sample] = answer.samples
    assert (sample.text, sample.reasoning, sample.refusal) == ("x", "hm", None)
    assert json.loads(sample.tool_calls or "") == {"name": "f"}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "let me"}]}
    parts = [thought, {"type": "text", "text": "6"}, {"type": "refusal", "refusal": "no"}]
    answer = read({"choices": [choice(0, parts)]})
    assert isinstance(answer, Answer)
    assert (answer.samples[0].text, answer.samples[0].reasoning, answer.samples[0].refusal) == (
        "6",
        "let me",
        "no",
    )


def test_more_choices_than_wanted_are_dropped():
    answer = read({"choices": [choice(0), choice(1), choice(2)]}, 2)
    assert isinstance(answer, Answer)
    assert len(answer.samples) == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [null]}',
        b'{"choices": 3}',
        b'{"choices": "ab"}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": [5]}}]}',
        b'{"choices": [{"message": {"content": "half \\ud800"}}]}',
        b'{"error": {"message": "overloaded"}}',
    ],
)
def test_a_success_without_a_completion_is_a_bad_answer(raw: bytes):
    trouble = read_answer(200, raw, 1, None)
    assert isinstance(trouble, Trouble)
    assert (trouble.action, trouble.code, trouble.overload) == (Action.RETRY, "bad_answer", False)


@pytest.mark.parametrize(
    ("status", "error", "asked_s", "action", "code", "overload"),
    [
        (400, {}, None, Action.ROW, "bad_request", False),
        (422, {}, None, Action.ROW, "bad_request", False),
        (400, {"code": "context_length_exceeded"}, None, Action.ROW, "prompt_too_long", False),
        (400, {"code": 400, "type": "exceed_context_size_error"}, None, Action.ROW, "prompt_too_long", False),
        (401, {}, None, Action.DENIED, "blocked", False),
        (403, {}, None, Action.DENIED, "blocked", False),
        (404, {}, None, Action.DENIED, "endpoint_4xx", False),
        (405, {}, None, Action.DENIED, "endpoint_4xx", False),
        (307, {}, None, Action.DENIED, "endpoint_4xx", False),
        (402, {}, None, Action.ENGINE, "insufficient_quota", False),
        (400, {"code": "billing_hard_limit_reached"}, None, Action.ENGINE, "insufficient_quota", False),
        (403, {"code": "insufficient_user_quota"}, None, Action.ENGINE, "insufficient_quota", False),
        (451, {}, None, Action.ROW, "endpoint_4xx", False),
        (413, {}, None, Action.ROW, "endpoint_4xx", False),
        (408, {}, None, Action.RETRY, "endpoint_unavailable", False),
        (409, {}, None, Action.RETRY, "endpoint_unavailable", False),
        (425, {}, None, Action.RETRY, "endpoint_unavailable", False),
        (500, {}, 3.0, Action.RETRY, "endpoint_unavailable", False),
        (429, {}, None, Action.REFUSED, "endpoint_unavailable", True),
        (429, {"code": "insufficient_quota"}, None, Action.ENGINE, "insufficient_quota", False),
        (503, {}, None, Action.RETRY, "endpoint_unavailable", True),
        (503, {}, 1.0, Action.REFUSED, "endpoint_unavailable", True),
    ],
)
def test_what_each_status_means(
    status: int, error: dict[str, Any], asked_s: float | None, action: Action, code: str, overload: bool
):
    trouble = read_answer(status, orjson.dumps({"error": {"message": "why", **error}}), 1, asked_s)
    assert trouble == Trouble(action, code, f"HTTP {status}: why", overload)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"error": {"message": "two\\n lines"}}', "two lines"),
        (b'{"error": "text"}', "text"),
        (b'{"object": "error", "message": "vLLM"}', "vLLM"),
        (b'{"detail": "FastAPI"}', "FastAPI"),
        (b"<h1>nginx</h1>", "<h1>nginx</h1>"),
        (b"\xff\x00", "\ufffd\x00"),
        (b"", "(an empty body)"),
        (b"[1]", "[1]"),
    ],
)
def test_the_endpoints_message_is_found(raw: bytes, message: str):
    trouble = read_answer(400, raw, 1, None)
    assert isinstance(trouble, Trouble)
    assert trouble.message == f"HTTP 400: {message}"


def test_a_history_of_tool_calls_is_sent_as_openai_has_it():
    function = {"name": "f", "arguments": {"größe": 1, "n": None}}
    messages = [
        {"role": "user", "content": "add"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "so", "function_call": {"name": "f", "arguments": '{"a": 1}'}},
    ]
    sent = body_of(Sampling(), messages)["messages"]
    assert sent[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"größe": 1, "n": null}'}}
        ],
    }
    assert [sent[0], sent[2], sent[3]] == [messages[0], messages[2], messages[3]]
    assert "content" not in messages[1], "the request itself stays as it is"
    function["arguments"] = {"x": float("nan")}
    with pytest.raises(RowError, match="arguments of a tool call cannot be sent as JSON"):
        body_of(Sampling(), messages)


def test_tools_are_sent_where_there_are_some():
    tools = [{"type": "function", "function": {"name": "f"}}]
    request = GenerateRequest("r", MESSAGES, Sampling(), [7], tools=tools)
    raw = request_body("m", request, samples=1, seed=7, max_tokens_field="max_tokens", extra={})
    assert orjson.loads(raw)["tools"] == tools
    assert "tools" not in body_of(Sampling())
