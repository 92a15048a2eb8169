"""Keys: row ids from a key column, checked over the whole source; and what to say when they do not do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any

import pyarrow as pa

from raygen.data.sources.inputs import Found
from raygen.data.sources.unique import UniqueIds
from raygen.errors import RowError, SourceError

BATCH = 16_384
ALLOWED = "a key is text, a whole number or a UUID"


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
        """Compare all ids. Raises SourceError: some occur more than once; names the first few and where they are."""
        self._flush()
        count, first = self.ids.duplicates()
        if count:
            shown = ", ".join(
                f"{text!r} ({' and '.join(f'{inputs[file].name} row {row}' for file, row in places)})"
                for text, places in first
            )
            more = f" and {count - len(first):,} more" if count > len(first) else ""
            raise SourceError(
                f"{self.what} has {count:,} {'value that occurs' if count == 1 else 'values that occur'} more than once: "
                f"{shown}{more}; "
                "row ids must be unique"
            )

    def _flush(self) -> None:
        if self._texts:
            self.ids.add(self._texts, self._file, self._rows)
            self._texts, self._rows = [], []


def key_text(value: Any, key: str, where: str) -> str:
    """Return a value of a key column without a type as a row id.

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
    raise RowError("missing_key", f"the key {key!r} holds {kind_of(value)} ({short(value)}); {ALLOWED}")


def key_texts(keys: pa.Array) -> pa.Array:
    """Return a typed key column's values as row ids, null where they are. Raises ArrowInvalid: not UTF-8."""
    if keys.type == pa.uuid():
        return pa.array([None if each is None else str(each) for each in keys.to_pylist()], pa.string())
    return keys.cast(pa.string())


def fits_as_key(kind: pa.DataType) -> bool:
    """Whether `key_texts` takes a column of this type; one without any value is met row by row."""
    is_of = pa.types
    text = is_of.is_string(kind) or is_of.is_large_string(kind) or is_of.is_string_view(kind)
    whole = is_of.is_integer(kind) or (is_of.is_decimal(kind) and kind.scale == 0)
    return bool(text or whole or is_of.is_null(kind) or kind == pa.uuid())


def kind_of(value: Any) -> str:
    """Say in plain words what a value is, as many."""
    words = {
        bool: "booleans",
        float: "numbers with a fraction",
        list: "lists",
        dict: "objects",
        bytes: "bytes",
    }
    words |= {Decimal: "numbers with a fraction", datetime: "points in time", date: "dates"}
    return words.get(type(value), type(value).__name__)


def short(value: Any) -> str:
    """Return a value for an error message, cut to 40 characters."""
    text = repr(value) if isinstance(value, (bytes, list, dict)) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def null_key(key: str, where: str) -> SourceError:
    """Return the error for a row without a value in the key column."""
    return SourceError(
        f"{where}: the key column {key!r} is null or empty; choose a column that every row has"
    )
