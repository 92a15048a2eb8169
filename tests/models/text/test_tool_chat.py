"""Tool chat: every template gets tool calls in the form that it writes out whole; nothing is left out without a word."""

from __future__ import annotations

from typing import Any

import pytest

from raygen.errors import RowError
from raygen.models.text.chat_template import TemplateRules
from raygen.models.text.chat_tokenizer import ChatTokenizer
from tests.fakes.chat_templates import BARE, DEEPSEEK, HERMES, LLAMA, PLAIN, TAGS
from tests.fakes.tiny_llama import tiny_tokenizer

TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
]


def chat_of(
    arguments: Any = '{"city": "Bern"}', calls: int = 1, said: str | None = None
) -> list[dict[str, Any]]:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    assistant = {"role": "assistant", "tool_calls": [call] * calls}
    return [
        {"role": "user", "content": "add"},
        assistant if said is None else {**assistant, "content": said},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "user", "content": "so?"},
    ]


def text_of(template: str | None, messages: list[dict[str, Any]], tools: Any = None) -> str:
    chat = ChatTokenizer(tiny_tokenizer(template), frozenset({1}), 4096)
    return str(chat.tokenizer.decode(chat.encode(messages, tools)))


@pytest.mark.parametrize("arguments", ['{"city": "Bern"}', {"city": "Bern"}])
@pytest.mark.parametrize(
    ("template", "written"),
    [
        (
            HERMES,
            '<|assistant|><tool_call>\n{"name": "look", "arguments": {"city": "Bern"}}\n</tool_call></s>',
        ),
        (LLAMA, '<|assistant|>{"name": "look", "parameters": {"city": "Bern"}}</s>'),
        (DEEPSEEK, '<|assistant|>look\n```json\n{"city": "Bern"}\n```</s>'),
        (BARE, '<|assistant|>look: {"city": "Bern"}</s>'),
        (TAGS, "<|assistant|><function=look><parameter=city>Bern</parameter></function></s>"),
    ],
)
def test_a_call_is_written_as_the_template_means_it(template: str, written: str, arguments: Any) -> None:
    text = text_of(template, chat_of(arguments))
    assert written in text
    assert "42" in text
    assert "None" not in text


def test_no_arguments_are_an_empty_object() -> None:
    for template in (HERMES, LLAMA, DEEPSEEK, BARE):
        for none in ("", None, {}, "{}"):
            assert "{}" in text_of(template, chat_of(none))


def test_the_older_form_is_a_tool_call() -> None:
    call = {"name": "look", "arguments": '{"city": "Bern"}'}
    older = [
        {"role": "user", "content": "add"},
        {"role": "assistant", "function_call": call},
        {"role": "function", "name": "look", "content": "42"},
        {"role": "user", "content": "so?"},
    ]
    assert text_of(HERMES, older) == text_of(HERMES, chat_of())


@pytest.mark.parametrize(
    ("template", "messages", "tools", "message"),
    [
        (PLAIN, chat_of(), None, "leaves out tool call 0 of message 1"),
        (PLAIN, [{"role": "user", "content": "x"}], TOOLS, "leaves out the list of tools"),
        (DEEPSEEK, [{"role": "user", "content": "x"}], TOOLS, "leaves out the list of tools"),
        (LLAMA, chat_of(said="Let me see."), None, r"leaves out what the assistant says beside tool calls \(message 1\)"),
        (LLAMA, chat_of(calls=2), None, "refuses them: .*single tool-calls"),
        (HERMES, chat_of("{'city'"), None, "arguments of tool call 0 of message 1 are no JSON object"),
        (HERMES, chat_of("[1]"), None, "arguments of tool call 0 of message 1 are no JSON object"),
        (PLAIN.replace("message in messages", "message in messages if message.role != 'tool'"),
         [{"role": "user", "content": "x"}, {"role": "tool", "content": "42"}], None,
         r"leaves out the result of a tool \(message 1\)"),
        (None, [{"role": "user", "content": "x"}], TOOLS, "no chat template: it knows no tools"),
    ],
)  # fmt: skip
def test_what_a_template_would_leave_out_fails_the_row(
    template: str | None, messages: list[dict[str, Any]], tools: Any, message: str
) -> None:
    with pytest.raises(RowError, match=message) as refused:
        text_of(template, messages, tools)
    assert refused.value.code == "invalid_messages"


def test_tools_stand_in_the_prompt() -> None:
    asked = [{"role": "user", "content": "x"}]
    for template in (HERMES, LLAMA):
        assert '"name": "add"' in text_of(template, asked, TOOLS)
        assert "add" not in text_of(template, asked)


def test_a_call_of_another_kind_is_refused() -> None:
    chat = chat_of()
    chat[1]["tool_calls"] = [{"id": "1", "type": "custom", "custom": {"name": "x", "input": "y"}}]
    with pytest.raises(RowError, match="but those of functions") as refused:
        text_of(HERMES, chat)
    assert refused.value.code == "engine_unsupported"


def test_the_form_depends_on_the_shape_of_the_chat_and_not_on_what_was_seen_before() -> None:
    chat = ChatTokenizer(tiny_tokenizer(DEEPSEEK), frozenset({1}), 4096)
    first = chat.encode(chat_of())
    chat.encode([{"role": "user", "content": "x"}, {"role": "tool", "content": "raygenmark"}])
    assert chat.encode(chat_of()) == first
    llama = ChatTokenizer(tiny_tokenizer(LLAMA), frozenset({1}), 4096)
    llama.encode(chat_of())
    only_first = HERMES.replace("in message.tool_calls %}", "in message.tool_calls[:1] %}")
    first_call = ChatTokenizer(tiny_tokenizer(only_first), frozenset({1}), 4096)
    first_call.encode(chat_of())
    with pytest.raises(RowError, match="leaves out tool call 1 of message 1"):
        first_call.encode(chat_of(calls=2))
    with pytest.raises(RowError, match="beside tool calls"):
        llama.encode(chat_of(said="x"))
    # A row that itself says a mark is nothing special.
    assert "raygenmark0x" in text_of(HERMES, [{"role": "user", "content": "raygenmark0x"}, *chat_of()[1:]])


def test_a_run_of_a_former_version_goes_on_as_it_began() -> None:
    chat = ChatTokenizer(tiny_tokenizer(PLAIN), frozenset({1}), 4096, rules=TemplateRules(lenient=True))
    text = chat.tokenizer.decode(chat.encode(chat_of(said="Let me see.")))
    assert text == "<|user|>add</s><|assistant|>Let me see.</s><|tool|>42</s><|user|>so?</s><|assistant|>"
    with pytest.raises(RowError, match="leaves out tool call 0"):  # what former versions refused themselves
        chat.encode(chat_of())
