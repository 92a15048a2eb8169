"""Messages: what is a chat, and what a file with column types put into it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pyarrow as pa
import pytest

from raygen.data.text.messages import checked_messages, told_calls
from raygen.errors import RowError

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
HISTORY: list[dict[str, Any]] = [
    {"role": "developer", "content": "be kind"},
    {"role": "user", "content": "add"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "42"},
    {"role": "assistant", "content": [{"type": "text", "text": "42"}]},
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "function", "name": "f", "content": "43"},
]


def test_a_history_of_tool_calls_is_a_chat() -> None:
    found = checked_messages(HISTORY, "chat")
    assert found[2] == {"role": "assistant", "tool_calls": [CALL]}
    assert found[3:5] == HISTORY[3:5]
    assert checked_messages(orjson.dumps(HISTORY).decode(), "chat") == found


def test_integers_of_any_size_stay_whole_in_json_text() -> None:
    arguments = {"account": 12345678901234567890123}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    history = [{"role": "user", "content": "add"}, {"role": "assistant", "tool_calls": [call]}]
    assert checked_messages(json.dumps(history), "chat") == history


def test_the_flat_form_of_a_call_becomes_the_whole_one() -> None:
    flat = {"id": "1", "name": "f", "arguments": {"a": 1}}
    found = checked_messages([{"role": "assistant", "tool_calls": [flat]}], "chat")
    whole = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    assert found[0]["tool_calls"] == [whole]


def test_what_parquet_fills_in_is_taken_out_again() -> None:
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1}}},
            {"function": {"name": "g", "arguments": {"b": [None, {"c": "x"}]}}},
            {"function": {"name": "h", "arguments": {}}},
        ]},
    ]  # fmt: skip
    filled = pa.array([chat]).to_pylist()[0]
    assert filled[0]["tool_calls"] is None
    assert filled[1]["tool_calls"][0]["function"]["arguments"] == {"a": 1, "b": None}
    assert checked_messages(filled, "chat", padded=True) == chat


def test_a_null_among_arguments_means_null_where_nothing_is_filled_in() -> None:
    chat = [{"role": "assistant", "content": None, "name": None,
             "tool_calls": [{"id": None, "function": {"name": "f", "arguments": {"a": None}}}]}]  # fmt: skip
    kept = [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": None}}}]}]
    assert checked_messages(chat, "chat") == kept
    assert (
        checked_messages(orjson.dumps(chat).decode(), "chat", padded=True) == kept
    )  # as text it is as it was written


def test_no_calls_are_none() -> None:
    assert checked_messages([{"role": "assistant", "content": "x", "tool_calls": []}], "c") == [
        {"role": "assistant", "content": "x"}
    ]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "pirate", "content": "x"}, "has no role out of system, developer"),
        ({"from": "human", "value": "x"}, r"has no role out of .*ShareGPT's: human is user"),
        ({"role": "user"}, r"\(user\) has no content"),
        ({"role": "tool", "content": None}, r"\(tool\) has no content"),
        ({"role": "user", "tool_calls": [CALL]}, r"\(user\) has no content"),
        ({"role": "assistant", "content": None}, "neither content nor tool calls"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "neither content nor tool calls"),
        ({"role": "user", "content": 3}, "no content that is text or a list of parts"),
        ({"role": "assistant", "tool_calls": "f()"}, "tool_calls that are no list"),
        ({"role": "assistant", "tool_calls": ["f()"]}, r"tool call \(number 0\) that is no object"),
        ({"role": "assistant", "tool_calls": [CALL, {"id": "2"}]}, r"\(number 1\) that names no function"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]},
         r"\(number 0\) whose arguments are no object"),
    ],
)  # fmt: skip
def test_a_fault_names_the_message_and_what_is_wrong(message: dict[str, Any], words: str) -> None:
    with pytest.raises(RowError, match=rf"^message 1 of column 'chat' .*{words}") as refused:
        checked_messages([{"role": "user", "content": "x"}, message], "chat")
    assert refused.value.code == "bad_messages"


def test_calls_are_told_to_people() -> None:
    found = checked_messages(HISTORY, "chat")
    assert [told_calls(message) for message in (found[1], found[2], found[5])] == [
        [],
        ['f({"a": 1})'],
        ["f({})"],
    ]
    assert told_calls({"tool_calls": [{"function": {"name": "f", "arguments": {"ü": 1}}}]}) == ['f({"ü": 1})']
