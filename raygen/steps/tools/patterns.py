"""Patterns: a job's regular expressions, looked for in texts for a bounded time. One that runs away fails its row alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import regex

from raygen.errors import RowError

# Of one text. Most patterns take microseconds; a few never end, and Python's `re` cannot be stopped.
LIMIT_S = 2.0

Found = TypeVar("Found")


class Pattern:
    """A compiled pattern. `regex` reads what `re` does, lets other threads work meanwhile, and ends in time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._made = regex.compile(text)

    def occurs_in(self, text: str) -> bool:
        """Return whether the pattern occurs in a text. Raises RowError: it takes too long."""
        return self._in_time(lambda: self._made.search(text, timeout=LIMIT_S), text) is not None

    def found(self, text: str) -> list[str | None]:
        """Return of each match, in order, its first group, or all of it if it has none. Raises RowError: it takes too long."""
        group = 1 if self._made.groups else 0

        def look() -> list[str | None]:
            return [match[group] for match in self._made.finditer(text, timeout=LIMIT_S)]

        return self._in_time(look, text)

    def _in_time(self, look: Callable[[], Found], text: str) -> Found:
        try:
            return look()
        except TimeoutError:
            raise RowError(
                "pattern_timeout",
                f"the pattern {self.text[:200]!r} was looked for in {len(text):,} characters for {LIMIT_S:g} s without an "
                "end; one without repetitions inside of repetitions ends soon",
            ) from None
