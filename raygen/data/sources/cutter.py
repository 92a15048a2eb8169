"""Cutter: rows counted one by one become ranges of at most `chunk_rows` rows that never span two inputs."""

from __future__ import annotations

from raygen.data.sources.base import Range


class Cutter:
    """Cuts inputs into ranges, in order, until `max_rows` rows of the whole source are taken."""

    def __init__(self, chunk_rows: int, max_rows: int | None) -> None:
        self.ranges: list[Range] = []
        self._chunk_rows = chunk_rows
        self._left = max_rows
        self._file = self._start = self._stop = self._rows = self._first_row = self._line = (
            self._first_line
        ) = 0

    @property
    def rows(self) -> int:
        """How many rows of this input were taken."""
        return self._first_row + self._rows

    @property
    def full(self) -> bool:
        return self._left == 0

    def begin(self, file: int, start: int, line: int = 0) -> None:
        """Go on with input number `file`, whose rows begin at `start`, behind `line` lines."""
        self._file, self._start, self._stop, self._rows, self._first_row = file, start, start, 0, 0
        self._line = self._first_line = line

    def add(self, stop: int, line: int = 0) -> bool:
        """Take one row that ends at `stop`, `line` lines into the input. False when it was the last to take."""
        self._rows += 1
        self._stop, self._line = stop, line
        if self._left is not None:
            self._left -= 1
        if self._rows == self._chunk_rows:
            self._cut()
        return self._left != 0

    def end(self) -> None:
        """Finish an input."""
        if self._rows:
            self._cut()

    def _cut(self) -> None:
        self.ranges.append(
            Range(self._file, self._start, self._stop, self._rows, self._first_row, self._first_line)
        )
        self._first_row += self._rows
        self._first_line = self._line
        self._start, self._rows = self._stop, 0
