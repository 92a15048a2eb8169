"""Tools reach models that take them; a call that has to be is a constraint."""

from __future__ import annotations

import pytest

from raygen.wire.chat import ChatCompletions
from raygen.wire.errors import ApiError
from tests.fakes.text_models import saying
from tests.wire.asking import answered

CHAT = ChatCompletions()
HI = [{"role": "user", "content": "hi"}]
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": PARAMETERS, "strict": True}},
    {"type": "function", "function": {"name": "sub", "description": "less"}},
]
CALL = '{"name": "add", "arguments": {"a": 1}}'


def asked(text="x", **body):
    served = saying(text)
    found = answered(CHAT, served, messages=HI, **body)
    return served.engine.asked[0], found["choices"][0]


def test_tools_are_told_of():
    request, _ = asked(tools=TOOLS)
    assert request.tools == [
        {"type": "function", "function": {"name": "add", "parameters": PARAMETERS}},
        {"type": "function", "function": {"name": "sub", "description": "less"}},
    ]
    assert request.constraint is None


def test_with_the_choice_none_no_tool_is_told_of_and_no_call_is_found():
    request, choice = asked(CALL, tools=TOOLS, tool_choice="none")
    assert request.tools is None
    assert choice["message"]["content"] == CALL


def test_a_call_that_has_to_be_is_a_constraint():
    named, choice = asked(CALL, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "add"}})
    assert named.constraint.json_schema["properties"] == {"name": {"const": "add"}, "arguments": PARAMETERS}
    assert choice["finish_reason"] == "tool_calls"
    any_of_them, _ = asked(CALL, tools=TOOLS, tool_choice="required")
    names = [form["properties"]["name"]["const"] for form in any_of_them.constraint.json_schema["anyOf"]]
    assert names == ["add", "sub"]


def test_without_parallel_calls_one_is_told():
    _, many = asked(f"[{CALL}, {CALL}]", tools=TOOLS)
    assert len(many["message"]["tool_calls"]) == 2
    _, one = asked(f"[{CALL}, {CALL}]", tools=TOOLS, parallel_tool_calls=False)
    assert len(one["message"]["tool_calls"]) == 1


def test_a_call_that_was_cut_off_is_told_to_be_cut():
    served = saying(f"<tool_call>{CALL}</tool_call> and", finish="length")
    assert answered(CHAT, served, messages=HI, tools=TOOLS)["choices"][0]["finish_reason"] == "length"


def test_calls_and_results_go_back_to_the_model():
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    history = [
        {"role": "developer", "content": "be kind"},
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "2"}]},
    ]
    served = saying("x")
    answered(CHAT, served, messages=history)
    assert served.engine.asked[0].messages == [
        {"role": "system", "content": "be kind"},
        *HI,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "call_1"},
    ]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "mul"}}},
            "invalid_value",
            "tool_choice",
        ),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"tools": [TOOLS[1], TOOLS[1]]}, "invalid_value", "tools"),
        ({"tools": [{"type": "custom"}]}, "invalid_value", "tools.0.type"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "invalid_value",
            "tools.0.function.name",
        ),
        (
            {"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}},
            "invalid_value",
            "tool_choice",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(body, code, param):
    with pytest.raises(ApiError) as caught:
        asked(**body)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_model_that_keeps_to_no_constraint_need_not_be_told_to_call():
    served = saying("x")
    type(served.engine).takes_constraints = False
    try:
        with pytest.raises(ApiError) as caught:
            answered(CHAT, served, messages=HI, tools=TOOLS, tool_choice="required")
    finally:
        type(served.engine).takes_constraints = True
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tool_choice")
