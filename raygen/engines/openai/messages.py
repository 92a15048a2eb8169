"""Chat messages for endpoints: arguments of tool calls are JSON text, and content that is missing is null, as OpenAI has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from raygen.errors import RowError


def endpoint_messages(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages as they are sent. Raises RowError `bad_request`: arguments that JSON cannot hold."""
    return [_sent(message) for message in messages]


def _sent(message: dict[str, Any]) -> dict[str, Any]:
    calls, called = message.get("tool_calls"), message.get("function_call")
    if not calls and not called:
        return message
    sent = {**message, "content": message.get("content")}
    if calls:
        sent["tool_calls"] = [
            {**call, "type": "function", "function": _function(call["function"])}
            if "function" in call
            else call
            for call in calls
        ]
    if called:
        sent["function_call"] = _function(called)
    return sent


def _function(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):
        try:
            arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise RowError(
                "bad_request",
                f"arguments of a tool call cannot be sent as JSON: {error}",
                public="arguments of a tool call cannot be sent as JSON",
            ) from None
    return {**function, "arguments": arguments}
