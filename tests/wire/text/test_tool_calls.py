"""Calls are found in what models write; all else stays text."""

from __future__ import annotations

import pytest

from raygen.wire.text.tool_calls import Call, CallFinder, calls_in, told_calls

ADD = Call("add", '{"a": 1}')


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name": "add", "arguments": {"a": 1}}', [ADD]),
        ('{"name": "add", "parameters": {"a": 1}}', [ADD]),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', [ADD]),
        ('{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}', [ADD]),
        ('[{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 1}}]', [ADD, ADD]),
        ('{"name": "add", "arguments": {"a": 1}}; {"name": "add", "arguments": {"a": 1}}', [ADD, ADD]),
        ('{"name": "add"}', [Call("add", "{}")]),
        ('{"name": "add", "arguments": {"a": "\\ud800"}}', [Call("add", '{"a": "\\ud800"}')]),
        ('{"name": "add", "arguments": {"a": NaN}}', []),
        ('{"name": "add", "arguments": [1]}', []),
        ('{"name": 3, "arguments": {}}', []),
        ('{"name": "add", "arguments": {}} and more', []),
        ("[" * 100_000, []),
        ("add(1)", []),
        ("", []),
    ],
)
def test_calls_are_json_of_a_name_and_arguments(text, calls):
    assert calls_in(text) == calls


def test_plain_json_is_a_call_only_of_a_tool_that_there_is():
    assert calls_in('{"name": "add", "arguments": {}}', ["sub"]) == []


def found(text, size, names=("add",)):
    finder = CallFinder(names)
    content, calls = "", []
    for at in range(0, len(text), size):
        said, more = finder.push(text[at : at + size])
        content, calls = content + said, calls + more
    said, more = finder.end()
    return content + said, calls + more


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("text", "content", "count"),
    [
        ("no call at all \n", "no call at all \n", 0),
        (CALL, "", 1),
        (f"  let me see\n{CALL}\n{CALL}\n", "  let me see", 2),
        (f"{CALL} and so on", " and so on", 1),
        (CALL.removesuffix("</tool_call>"), "", 1),  # models end a text there
        (CALL[:30], CALL[:30], 0),
        ("<tool_call>add</tool_call>", "<tool_call>add</tool_call>", 0),
        ("1 <tool 2 <", "1 <tool 2 <", 0),
        ('{"name": "add", "arguments": {}} \n', "", 1),
        ('[{"name": "add"}, {"name": "add"}]', "", 2),
        ('{"total": 3}\n', '{"total": 3}\n', 0),
        ("{name", "{name", 0),
        ("  ", "  ", 0),
    ],
)
def test_a_text_is_read_alike_however_it_is_cut(text, content, count, size):
    assert (found(text, size)[0], len(found(text, size)[1])) == (content, count)


def test_what_cannot_be_a_call_flows_at_once():
    finder = CallFinder(["add"])
    assert finder.push("hello ")[0] == "hello"
    assert finder.push("world <tool_")[0] == " world"
    assert finder.push("box>")[0] == " <tool_box>"


def test_calls_that_an_endpoint_told_keep_their_ids():
    told = '[{"id": "call_9", "type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1}"}}]'
    assert told_calls(told) == [Call("add", '{"a": 1}', "call_9")]
    assert told_calls('{"name": "add", "arguments": "{\\"a\\": 1}"}') == [ADD]
    assert told_calls('[{"type": "custom"}]') == []


def test_ids_follow_from_the_answer():
    assert ADD.body("chatcmpl-1", 0, 0) == ADD.body("chatcmpl-1", 0, 0)
    assert len({ADD.body("chatcmpl-1", choice, number)["id"] for choice in (0, 1) for number in (0, 1)}) == 4
