"""Messages: what raygen says while it works, a line each, as records of Python's logging under the logger `raygen`.

A record says in fields of its own what it is about (`record.run`, `record.training`), for handlers that write JSON or pick
lines. No message holds a prompt or a sample. Who uses raygen as a library decides what becomes of them, by `logging`; the
command line shows them (terminal.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

LOGGER = logging.getLogger("raygen")
Say = Callable[[str], None]


def sayer(**ids: str) -> Say:
    """Return a function that logs a line at level INFO, with `ids` as fields of its record.

    Args:
        ids: what the lines are about, such as `run="s3://bucket/run"`.
    """

    def say(line: str) -> None:
        LOGGER.info("%s", line, extra=ids)

    return say
