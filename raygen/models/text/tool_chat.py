"""Tool chat: histories with tool calls, and lists of tools, in the form that a model's own chat template writes out whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from raygen.errors import RowError, first_line

Messages = Sequence[dict[str, Any]]
Tools = list[dict[str, Any]] | None
Render = Callable[[Messages, Tools], str]  # raises whatever a template does

MOST_KNOWN = 4096  # shapes of chats whose form is remembered
MARK = "raygenmark"  # plain enough to come out of any template as it went in


@dataclass(frozen=True, slots=True)
class Form:
    """What templates do not agree on: transformers says an object and no content; some add the two to a text."""

    as_text: bool  # are arguments JSON text, or an object?
    empty: str | None  # the content of a message that has tool calls only; None: it has none


FORMS = (Form(False, None), Form(False, ""), Form(True, None), Form(True, ""))


def has_tools(messages: Messages, tools: Tools) -> bool:
    """Do a chat's messages or what stands beside them need a template that knows tools?"""
    return bool(tools) or any(
        message.get("tool_calls")
        or message.get("function_call")
        or message.get("role") in ("tool", "function")
        for message in messages
    )


class ToolChat:
    """Finds the form by a chat of the same shape whose every part is marked: all marks have to be in the text.

    So the form, and whether a row fails, depends on the template and the shape of the row's own chat alone.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._known: dict[Hashable, Form | RowError] = {}

    def whole(self, messages: Messages, tools: Tools) -> list[dict[str, Any]]:
        """Return the messages as the template needs them. Those of the older `function` form become tool calls.

        Raises:
            RowError: `invalid_messages`, arguments that the template needs as an object are none, or it would leave out
                tools, a call or a result; `engine_unsupported`, a call of no function.
        """
        messages = [_newer(message) for message in messages]
        for message in messages:
            if any("function" not in call for call in message.get("tool_calls") or ()):
                raise RowError(
                    "engine_unsupported", "a chat template knows no tool calls but those of functions"
                )
        shape = (bool(tools), *(_shape(message) for message in messages))
        if shape not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[shape] = self._find(messages, bool(tools))
        form = self._known[shape]
        if isinstance(form, RowError):
            raise RowError(form.code, form.message, public=form.public)
        return [_formed(message, form, number) for number, message in enumerate(messages)]

    def _find(self, messages: Messages, has_list: bool) -> Form | RowError:
        chat, marks = _marked(messages)
        tools = [TOOL] if has_list else None
        if has_list:
            marks = {"the list of tools": [_TOOL_NAME, _PARAMETER], **marks}
        left_out: list[str] | None = None
        problem = ""
        for form in FORMS:
            try:
                text = self._render([_formed(message, form, 0) for message in chat], tools)
            except Exception as error:  # noqa: BLE001 - templates are programs of the model's maker: any error is possible
                problem = problem or first_line(error)
                continue
            missing = [
                what for what, words in marks.items() if not all(_stands(word, text) for word in words)
            ]
            if not missing:
                return form
            if left_out is None or len(missing) < len(left_out):
                left_out = missing
        if left_out is None:
            refusal = "the model's chat template refuses them"
            return RowError("invalid_messages", f"{refusal}: {problem}", public=refusal)
        return RowError("invalid_messages", f"the model's chat template leaves out {'; '.join(left_out)}")


_TOOL_NAME, _PARAMETER = f"{MARK}tool", f"{MARK}parameter"
TOOL = {
    "type": "function",
    "function": {
        "name": _TOOL_NAME,
        "description": "none",
        "parameters": {
            "type": "object",
            "properties": {_PARAMETER: {"type": "string", "description": "none"}},
            "required": [_PARAMETER],
        },
    },
}


def _marked(messages: Messages) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Return a chat of the same shape, and the marks that have to come out of a template, by what they stand for."""
    chat: list[dict[str, Any]] = []
    marks: dict[str, list[str]] = {}
    ids: list[str] = []  # of calls without a result so far
    for number, message in enumerate(messages):
        mark = f"{MARK}{number}x"
        made: dict[str, Any] = {"role": message["role"], "content": "text"}
        if message["role"] == "tool":
            made |= {"content": mark, **({"name": "name"} if "name" in message else {})}
            made["tool_call_id"] = ids.pop(0) if ids else f"{number:09d}"
            marks[f"the result of a tool (message {number})"] = [mark]
        calls = message.get("tool_calls") or []
        if calls:
            del made["content"]
            if message.get("content"):
                made["content"] = f"{mark}said"
                marks[f"what the assistant says beside tool calls (message {number})"] = [made["content"]]
            ids = [
                f"{number:04d}{place:05d}" for place in range(len(calls))
            ]  # Mistral's have nine characters
            made["tool_calls"] = []
            for place, each in enumerate(ids):
                name = f"{mark}{place}x"
                arguments = {f"{name}key": f"{name}value"}
                function = {"name": f"{name}name", "arguments": arguments}
                made["tool_calls"].append({"id": each, "type": "function", "function": function})
                marks[f"tool call {place} of message {number}"] = [
                    f"{name}name",
                    f"{name}key",
                    f"{name}value",
                ]
        chat.append(made)
    return chat, marks


def _stands(mark: str, text: str) -> bool:
    """Whether a mark is in a text; and not in an object as Python prints it, nor in JSON within JSON."""
    return mark in text and f"{{'{mark}" not in text and f'\\"{mark}' not in text


def _shape(message: dict[str, Any]) -> Hashable:
    calls = len(message.get("tool_calls") or ())
    return message["role"], calls, bool(message.get("content")) if calls else None, "name" in message


def _newer(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message of the older form (`function_call`, role `function`) as one of a tool call."""
    message = dict(message)
    if message["role"] == "function":
        message["role"] = "tool"
    called = message.pop("function_call", None)
    if called and not message.get("tool_calls"):
        message["tool_calls"] = [{"type": "function", "function": called}]
    return message


def _formed(message: dict[str, Any], form: Form, number: int) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return message
    made = []
    for place, call in enumerate(calls):
        arguments = call["function"].get("arguments")
        if form.as_text:
            text = (
                arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
            )
            arguments = text or "{}"
        else:
            arguments = _object(arguments, f"tool call {place} of message {number}")
        made.append({**call, "function": {**call["function"], "arguments": arguments}})
    said = {"content": form.empty} if form.empty is not None and not message.get("content") else {}
    return {**message, **said, "tool_calls": made}


def _object(arguments: Any, where: str) -> dict[str, Any]:
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = [arguments]
    if arguments and not isinstance(arguments, dict):
        raise RowError(
            "invalid_messages", f"the arguments of {where} are no JSON object, which the template needs"
        )
    return arguments or {}
