"""Server-sent events: how pieces of an answer are written.

A stream that breaks has to end with an event that has an `error` key: clients take every other end for success.
"""

from __future__ import annotations

from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
# A comment: clients skip it; it keeps the connection open while a model loads.
LOADING = b": loading\n\n"


def event(body: dict[str, Any]) -> bytes:
    """Return one event."""
    return b"data: " + orjson.dumps(body) + b"\n\n"
