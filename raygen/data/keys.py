"""Keys: row ids from a key column, checked over the whole source; and what to say when they do not do."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from raygen.data.inputs import Found
from raygen.data.unique import UniqueIds
from raygen.errors import RowError, SourceError

BATCH = 16_384


class KeyCheck:
    """Collects the row ids of a source while it is planned. A context manager; see `UniqueIds`."""

    def __init__(self, what: str) -> None:
        self.what = what  # what the ids come from, for the error: "the key column 'id'"
        self.ids = UniqueIds()
        self._texts: list[str] = []
        self._rows: list[int] = []
        self._file = 0

    def __enter__(self) -> KeyCheck:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.ids.__exit__(kind, error, at)

    def add(self, text: str, file: int, row: int) -> None:
        if file != self._file or len(self._texts) == BATCH:
            self._flush()
            self._file = file
        self._texts.append(text)
        self._rows.append(row)

    def finish(self, inputs: Sequence[Found]) -> None:
        """Raises SourceError: ids occur more than once; names the first few and where they are."""
        self._flush()
        count, first = self.ids.duplicates()
        if count:
            shown = ", ".join(
                f"{text!r} ({' and '.join(f'{inputs[file].name} row {row}' for file, row in places)})"
                for text, places in first
            )
            more = f" and {count - len(first):,} more" if count > len(first) else ""
            raise SourceError(
                f"{self.what} has {count:,} values that occur more than once: {shown}{more}; "
                "row ids must be unique"
            )

    def _flush(self) -> None:
        if self._texts:
            self.ids.add(self._texts, self._file, self._rows)
            self._texts, self._rows = [], []


def key_text(value: Any, key: str, where: str) -> str:
    """Return a key column's value as a row id.

    Raises:
        SourceError: it is null or empty: the column is not fit to be a key.
        RowError: `missing_key`: it is neither text nor a whole number.
    """
    if type(value) is str and value:
        return value
    if type(value) is int:
        return str(value)
    if value is None or value == "":
        raise null_key(key, where)
    raise RowError(
        "missing_key", f"the key {key!r} is a {type(value).__name__}; a key is text or a whole number"
    )


def null_key(key: str, where: str) -> SourceError:
    return SourceError(
        f"{where}: the key column {key!r} is null or empty; choose a column that every row has"
    )
