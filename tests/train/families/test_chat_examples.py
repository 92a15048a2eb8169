"""Chat examples: what is learnt of histories with tools, of prompts and completions that are chats, and of last turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raygen.errors import ConfigError, RowError
from raygen.models.text.chat_tokenizer import ChatTokenizer
from raygen.train.families.chat_examples import ChatExamples
from raygen.train.families.text_units import IGNORED, TextExample
from tests.fakes.chat_templates import BARE, HERMES, LLAMA, PLAIN, QWEN3
from tests.fakes.tiny_llama import tiny_tokenizer
from tests.train.in_memory import recipe_of

TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
HISTORY = [
    {"role": "user", "content": "add"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "42"},
    {"role": "assistant", "content": "It is 42"},
]


def said(*contents: str) -> list[dict[str, Any]]:
    """A chat in which user and assistant speak in turns."""
    return [{"role": ("user", "assistant")[n % 2], "content": each} for n, each in enumerate(contents)]


def examples(template: str, **objective: Any) -> ChatExamples:
    recipe = recipe_of(Path("base"), objective=objective, batch={"max_tokens": 2000, "micro_tokens": 2000})
    return ChatExamples(recipe, ChatTokenizer(tiny_tokenizer(template), frozenset({1}), 4096))


def shown(example: TextExample) -> tuple[str, str]:
    """All of the text, and what bears loss."""
    tokenizer = tiny_tokenizer()
    learnt = [target for target in example.targets if target != IGNORED]
    assert all(t in (IGNORED, i) for t, i in zip(example.targets, example.input_ids, strict=True))
    return tokenizer.decode(example.input_ids), tokenizer.decode(learnt)


def code_of(made: ChatExamples, row: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(RowError) as refused:
        made.encode("r", row)
    return refused.value.code, refused.value.message


def test_calls_are_learnt_and_their_results_are_not() -> None:
    text, learnt = shown(examples(HERMES, messages="chat").encode("r", {"chat": HISTORY}))
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call></s>'
    assert text == (
        f"<|user|>add</s>\n<|assistant|>{call}\n<|user|><tool_response>42</tool_response></s>\n"
        "<|assistant|>It is 42</s>"
    )
    assert learnt == f"{call}It is 42</s>"
    # A template that prints arguments as they are gets them as text: never Python's notation.
    assert (
        shown(examples(BARE, messages="chat").encode("r", {"chat": HISTORY}))[1]
        == 'f: {"a": 1}</s>It is 42</s>'
    )


def test_calls_that_the_template_leaves_out_break_the_row() -> None:
    code, message = code_of(examples(PLAIN, messages="chat"), {"chat": HISTORY})
    assert (code, "leaves out tool call 0 of message 1" in message) == ("invalid_messages", True)


def test_tools_stand_before_the_chat_and_bear_no_loss() -> None:
    chat = said("hi", "yo")
    for given in ({"tools": "tools"}, {"tools": TOOLS}):
        text, learnt = shown(
            examples(HERMES, messages="chat", **given).encode("r", {"chat": chat, "tools": TOOLS})
        )
        assert text.startswith('<|system|>Tools:\n{"type": "function", "function": {"name": "add"')
        assert learnt == "yo</s>"
    made = examples(HERMES, messages="chat", tools="tools")
    assert made.encode("r", {"chat": chat, "tools": None}) == examples(HERMES, messages="chat").encode(
        "r", {"chat": chat}
    )
    asked = ChatTokenizer(tiny_tokenizer(HERMES), frozenset({1}), 4096).encode(chat[:1], TOOLS)
    assert made.encode("r", {"chat": chat, "tools": TOOLS}).input_ids[: len(asked)] == asked
    assert code_of(made, {"chat": chat, "tools": "?"})[0] == "bad_tools"
    made.check()
    plain = examples(PLAIN, messages="chat", tools="tools")
    with pytest.raises(
        ConfigError, match=r"objective\.tools: the model's chat template leaves out the list of tools"
    ):
        plain.check()
    assert "leaves out the list of tools" in code_of(plain, {"chat": chat, "tools": TOOLS})[1]


def test_of_prompt_and_completion_the_completion_is_learnt() -> None:
    made = examples(HERMES, messages=["prompt", "completion"])
    row = {"prompt": [*said("a?", "b", "c?")], "completion": [{"role": "assistant", "content": "d e"}]}
    text, learnt = shown(made.encode("r", row))
    assert text == "<|user|>a?</s>\n<|assistant|>b</s>\n<|user|>c?</s>\n<|assistant|>d e</s>"
    assert learnt == "d e</s>"
    assert shown(made.encode("r", {"prompt": HISTORY[:1], "completion": HISTORY[1:]}))[1].endswith(
        "It is 42</s>"
    )
    assert code_of(made, {"prompt": said("a?"), "completion": said("x")})[0] == "no_targets"
    code, message = code_of(made, {"prompt": said("a?"), "completion": "b"})
    assert (code, "'completion'" in message) == ("bad_messages", True)


THOUGHTS = said("a?", "<think>x</think>b", "c?", "<think>y</think>d")


def test_a_template_that_rewrites_earlier_turns_is_learnt_from_by_the_last() -> None:
    code, message = code_of(examples(QWEN3, messages="chat"), {"chat": THOUGHTS})
    assert code == "bad_messages"
    assert "before message 3 otherwise" in message
    assert "`objective.turns: last`" in message
    text, learnt = shown(examples(QWEN3, messages="chat", turns="last").encode("r", {"chat": THOUGHTS}))
    assert text == "<|user|>a?</s><|assistant|>b</s><|user|>c?</s><|assistant|><think>y</think>d</s>"
    assert learnt == "<think>y</think>d</s>"
    # Whoever asks the model stands exactly there.
    asked = ChatTokenizer(tiny_tokenizer(QWEN3), frozenset({1}), 4096).encode(THOUGHTS[:3])
    example = examples(QWEN3, messages="chat", turns="last").encode("r", {"chat": THOUGHTS})
    assert example.input_ids[: len(asked)] == asked
    assert (
        shown(examples(QWEN3, messages="chat").encode("r", {"chat": THOUGHTS[:2]}))[1]
        == "<think>x</think>b</s>"
    )


def test_thoughts_that_a_template_always_takes_out_break_the_row() -> None:
    hush = PLAIN.replace("message.content }}", "message.content.split('</think>')[-1] }}")
    code, message = code_of(examples(hush, messages="chat", turns="last"), {"chat": THOUGHTS})
    assert (code, "leaves out a part of the content of message 3" in message) == ("bad_messages", True)
    assert shown(examples(hush, messages="chat").encode("r", {"chat": said("a?", "b")}))[1] == "b</s>"
    beside = [*said("a?"), {"role": "assistant", "content": "b", "reasoning_content": "x"}]
    code, message = code_of(examples(PLAIN, messages="chat"), {"chat": beside})
    assert (code, "of the reasoning_content of message 1" in message) == ("bad_messages", True)
    spaced = PLAIN.replace("{{ message.content }}", "{{ message.content | trim }}")
    assert (
        shown(examples(spaced, messages="chat").encode("r", {"chat": said("a?", " b  c\n")}))[1] == "b  c</s>"
    )


def test_the_last_turn_of_a_template_that_rewrites_it_too_is_refused() -> None:
    shy = PLAIN.replace(
        "{{ message.content }}", "{% if loop.last %}{{ message.content }}{% endif %}"
    ).replace("{% if add_generation_prompt %}<|assistant|>", "{% if add_generation_prompt %}<|assistant|>!")
    shy = shy.replace(
        "{%- if add_generation_prompt %}<|assistant|>", "{%- if add_generation_prompt %}<|assistant|>?"
    )
    code, message = code_of(examples(shy, messages="chat", turns="last"), {"chat": said("a", "b", "c", "d")})
    assert code == "bad_messages"
    assert "message 3 (assistant) otherwise" in message


def test_a_chat_may_begin_with_the_assistant() -> None:
    for template in (PLAIN, HERMES, LLAMA):
        chat = [{"role": "assistant", "content": "Hello"}, *said("hi", "yo")]
        text, learnt = shown(examples(template, messages="chat").encode("r", {"chat": chat}))
        assert text.startswith("<|assistant|>Hello</s>")
        assert learnt == "Hello</s>yo</s>"
    # What a template puts before the words is learnt, as everywhere: nobody writes it for the model when it is asked.
    thinking = PLAIN.replace(
        "{{ message.content }}",
        "{% if message.role == 'assistant' %}<think></think>{% endif %}{{ message.content }}",
    )
    text, learnt = shown(examples(thinking, messages="chat").encode("r", {"chat": chat}))
    assert text.startswith("<|assistant|><think></think>Hello</s>")
    assert learnt == "<think></think>Hello</s><think></think>yo</s>"
    silent = PLAIN.replace("{%- if add_generation_prompt %}<|assistant|>{% endif %}", "")
    assert (
        "lets no chat begin with the assistant"
        in code_of(examples(silent, messages="chat"), {"chat": chat})[1]
    )
    strict = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}" + PLAIN
    code, message = code_of(examples(strict, messages="chat"), {"chat": chat})
    assert (code, "user first" in message) == ("bad_messages", True)


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "y"}, {"type": "text", "text": "o"}]
    made = examples(PLAIN, messages="chat")
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": parts}]
    assert made.encode("r", {"chat": chat}) == made.encode("r", {"chat": said("hi", "yo")})
    chat[0]["content"] = [{"type": "image_url", "image_url": {"url": "u"}}]
    code, message = code_of(made, {"chat": chat})
    assert (code, message) == (
        "bad_messages",
        "message 0 of column 'chat': training takes text only, not a part of type 'image_url'",
    )


def test_a_recipe_says_so_where_tools_are_no_tools_or_columns_no_pair() -> None:
    with pytest.raises(ValidationError, match=r"objective\.tools\n.*tool 0 has no name"):
        recipe_of(Path("base"), objective={"messages": "chat", "tools": [{"description": "x"}]})
    with pytest.raises(ValidationError, match=r"objective\.messages"):
        recipe_of(Path("base"), objective={"messages": ["a", "b", "c"]})
    with pytest.raises(ValidationError, match="given text, turns"):
        recipe_of(Path("base"), objective={"text": "{{ t }}", "turns": "last"})
