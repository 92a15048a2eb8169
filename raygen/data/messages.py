"""Messages: a column of chat messages, [{role, content}, ...], checked."""

from __future__ import annotations

from typing import Any

import orjson

from raygen.errors import RowError

ROLES = ("system", "developer", "user", "assistant", "tool")


def checked_messages(value: Any, column: str | None) -> list[dict[str, Any]]:
    """Return the messages of a row, without empty fields.

    Args:
        value: a list of messages, or one as JSON.

    Raises:
        RowError: `bad_messages`.
    """
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, list) or not value:
        raise RowError(
            "bad_messages", f"column {column!r} holds no list of messages [{{role, content}}, ...]"
        )
    for number, message in enumerate(value):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise RowError(
                "bad_messages", f"message {number} of column {column!r} has no role out of {', '.join(ROLES)}"
            )
        if not isinstance(message.get("content"), str | list):
            raise RowError("bad_messages", f"message {number} of column {column!r} has no content")
    return [{key: part for key, part in message.items() if part is not None} for message in value]
