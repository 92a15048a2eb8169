"""Chat messages for engines that take text only: content parts become one string, anything else is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raygen.errors import RowError


def text_only(messages: Sequence[dict[str, Any]], taker: str) -> list[dict[str, Any]]:
    """Return the messages with each content as one string.

    Args:
        taker: who takes them, for the message of an error.

    Raises:
        RowError: `engine_unsupported`, one holds an image; `invalid_messages`, one has no text.
    """
    return [_joined(message, taker) for message in messages]


def _joined(message: dict[str, Any], taker: str) -> dict[str, Any]:
    content = message.get("content")
    calls = message.get("tool_calls") or message.get("function_call")
    if isinstance(content, str) or (content is None and calls):
        return message
    parts: list[Any] = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text", ""), str):
            raise RowError(
                "invalid_messages", f"a message's content is text or a list of parts, not {part!r:.80}"
            )
        if part.get("type") != "text":
            kind = part.get("type")
            raise RowError("engine_unsupported", f"{taker} takes text only, not a part of type {kind!r}")
    return {**message, "content": "".join(part.get("text", "") for part in parts)}
