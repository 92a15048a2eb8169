"""Messages: a column of chat messages, [{role, content}, ...], checked; what Parquet put in for missing fields is taken out."""

from __future__ import annotations

import json
from typing import Any

from raygen.errors import RowError
from raygen.json_text import read_json

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def checked_messages(value: Any, column: str | None, *, padded: bool = False) -> list[dict[str, Any]]:
    """Return the messages of a row, without empty fields.

    The assistant's may have tool calls instead of content. Calls in the flat form `{name, arguments}` become
    `{type: function, function: {name, arguments}}`; arguments stay what they are, an object or JSON text.

    Args:
        value: a list of messages, or one as JSON.
        padded: it comes of a file with column types, whose lists of objects have every field that any of the objects has:
            nulls in objects, however deep, are fields that were not given. Elsewhere a null among arguments means null.

    Raises:
        RowError: `bad_messages`; names the message, from 0 on.
    """
    if isinstance(value, str):
        value, padded = from_json(value), False
    if not isinstance(value, list) or not value:
        raise RowError(
            "bad_messages", f"column {column!r} holds no list of messages [{{role, content}}, ...]"
        )
    found = []
    for number, message in enumerate(value):
        try:
            found.append(_checked(message, padded))
        except ValueError as error:
            raise RowError("bad_messages", f"message {number} of column {column!r} {error}") from None
    return found


def from_json(text: str) -> Any:
    """Return what a JSON text holds; None if it is none."""
    try:
        return read_json(text)
    except json.JSONDecodeError:
        return None


def without_nulls(value: Any) -> Any:
    """Return a value whose objects, however deep, have no null fields; nulls in lists stay."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return value


def told_calls(message: dict[str, Any]) -> list[str]:
    """Return the tool calls of a message for people: `name({"key": value})`."""
    functions = [call.get("function", call) for call in message.get("tool_calls") or ()]
    functions += [message["function_call"]] if message.get("function_call") else []
    return [f"{each.get('name', each)}({_json_text(each.get('arguments', ''))})" for each in functions]


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _checked(message: Any, padded: bool) -> dict[str, Any]:
    """Return a message in its usual form. Raises ValueError."""
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        form = " (`from` and `value` are ShareGPT's: human is user, gpt is assistant)"
        is_sharegpt = isinstance(message, dict) and "from" in message and "role" not in message
        raise ValueError(f"has no role out of {', '.join(ROLES)}{form if is_sharegpt else ''}")
    found = without_nulls(message) if padded else _given(message)
    calls = found.pop("tool_calls", None)
    if calls:
        found["tool_calls"] = _checked_calls(calls)
    content = found.get("content")
    if content is None:
        if message["role"] != "assistant":
            raise ValueError(f"({message['role']}) has no content")
        if not calls and not isinstance(found.get("function_call"), dict):
            raise ValueError("(assistant) has neither content nor tool calls")
    elif isinstance(content, list):
        found["content"] = [_given(part) if isinstance(part, dict) else part for part in content]
    elif not isinstance(content, str):
        raise ValueError("has no content that is text or a list of parts")
    return found


def _checked_calls(calls: Any) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise ValueError("has tool_calls that are no list")
    return [_checked_call(call, number) for number, call in enumerate(calls)]


def _checked_call(given: Any, number: int) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"has a tool call (number {number}) that is no object")
    call: dict[str, Any] = _given(given)
    if call.get("type", "function") != "function":
        return call  # of a kind that some endpoint knows
    if "function" not in call:
        named = {key: call.pop(key) for key in ("name", "arguments") if key in call}
        call = {**call, "type": "function", "function": named}
    function = call["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"has a tool call (number {number}) that names no function")
    function = _given(function)
    if not isinstance(function.get("arguments", ""), str | dict):
        raise ValueError(f"has a tool call (number {number}) whose arguments are no object, nor one as JSON")
    return {**call, "function": function}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
