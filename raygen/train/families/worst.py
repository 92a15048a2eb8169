"""Worst: the examples of the highest loss, a few of them, for the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MOST_TEXT = 2000  # characters of a text that are kept


class Worst:
    """Keeps at most `size` rows, highest loss first; which ones does not depend on the order they come in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.rows: list[dict[str, Any]] = []

    def add(self, row_id: str, loss: float, describe: Callable[[], dict[str, Any]]) -> None:
        """Take a row if it is bad enough; only then is it described."""
        full = len(self.rows) >= self._size
        if self._size and not (full and (-loss, row_id) > self._key(self.rows[-1])):
            said = {
                name: value[:MOST_TEXT] if isinstance(value, str) else value
                for name, value in describe().items()
            }
            self.merge([{"row_id": row_id, "loss": loss, **said}])

    def merge(self, rows: list[dict[str, Any]]) -> None:
        self.rows = sorted([*self.rows, *rows], key=self._key)[: self._size]

    @staticmethod
    def _key(row: dict[str, Any]) -> tuple[float, str]:
        return -row["loss"], row["row_id"]
