"""Exact: which Arrow type holds values of JSON as they are? Found over every row, so that no later one is bent to fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any

import pyarrow as pa

from raygen.data.paths import ANY, value_at
from raygen.data.sources.columns import DEEPEST, storable
from raygen.json_text import depth, write_json

JSON_TEXT = ANY  # of a column whose values have no type in common: each is stored as JSON
JSON_MARK = {b"raygen.type": b"json"}  # of its field, where it is stored as strings
_NOTHING = object()
BATCH_ROWS = 1000
BATCH_BYTES = 8 * 2**20
UNFIT = (pa.ArrowException, ValueError, TypeError, OverflowError)
_PLAIN: dict[pa.DataType, type] = {pa.string(): str, pa.int64(): int, pa.float64(): float, pa.bool_(): bool}


def is_json(field: pa.Field) -> bool:
    """Whether a stored column of strings holds JSON, as raygen wrote it."""
    return bool(pa.types.is_string(field.type)) and (field.metadata or {}).get(b"raygen.type") == b"json"


class ExactTypes:
    """Finds the types of some columns while all rows of a source pass by, in bounded memory.

    A column gets the type of its first values if that type gives back every value of the source as it came in: whole
    numbers as whole numbers, objects with the same keys. Else it gets JSON_TEXT, which holds anything.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._types: dict[str, pa.DataType | None] = dict.fromkeys(names)  # None: nothing but nulls so far
        self._held: dict[str, list[Any]] = {name: [] for name in self._types}
        self._seen: set[str] = set()
        self._rows = self._bytes = 0

    def add(self, row: Mapping[str, Any], size_bytes: int) -> None:
        for name, held in self._held.items():
            value = row.get(name, _NOTHING) if "." not in name else value_at(row, name, _NOTHING)
            if value is not _NOTHING:
                held.append(value)
        self._rows += 1
        self._bytes += size_bytes
        if self._rows == BATCH_ROWS or self._bytes > BATCH_BYTES:
            self._settle()

    def types(self) -> dict[str, pa.DataType]:
        """Return the type of each column that any row had; string if it was always null."""
        self._settle()
        return {name: kind or pa.string() for name, kind in self._types.items() if name in self._seen}

    def _settle(self) -> None:
        for name, held in self._held.items():
            if held:
                self._seen.add(name)
                self._types[name] = _narrowed(self._types[name], held)
                held.clear()
        self._rows = self._bytes = 0


def _narrowed(kind: pa.DataType | None, values: list[Any]) -> pa.DataType | None:
    """Return the type after more values: the same, or JSON_TEXT."""
    if kind is None:
        if all(value is None for value in values):
            return None
        kind = _first_guess(values)
    return kind if kind == JSON_TEXT or exact_array(values, kind, strictly=True) is not None else JSON_TEXT


def _first_guess(values: list[Any]) -> pa.DataType:
    if max(map(depth, values)) > DEEPEST:
        return JSON_TEXT
    try:
        return storable(pa.array(values).type)
    except UNFIT:
        return JSON_TEXT


def exact_array(values: Sequence[Any], kind: pa.DataType, *, strictly: bool) -> pa.Array | None:
    """Lay values of JSON out as an array that holds them as they are; None if the type bends or drops any.

    Args:
        kind: JSON_TEXT gives an array of strings.
        strictly: a whole number is not a double, and a key that an object lacks is not null. Else these may stand for
            each other, as they are equal for who reads the column.
    """
    try:
        if kind == JSON_TEXT:
            return pa.array([None if v is None else write_json(v).decode() for v in values], pa.string())
        array = pa.array(values, kind)
    except UNFIT:
        return None
    plain = _PLAIN.get(kind)
    if plain is not None and set(map(type, values)) <= {plain, NoneType}:
        return array
    back = array.to_pylist()
    try:
        if write_json(values) == write_json(back):  # the short way for most
            return array
    except TypeError:
        pass
    same = all(_same(came, stored, strictly) for came, stored in zip(values, back, strict=True))
    return array if same else None


def _same(came: Any, stored: Any, strictly: bool) -> bool:
    if type(came) is dict and type(stored) is dict:
        if came.keys() != stored.keys() and (strictly or not came.keys() <= stored.keys()):
            return False
        return all(_same(came.get(key), value, strictly) for key, value in stored.items())
    if type(came) is list and type(stored) is list:
        return len(came) == len(stored) and all(map(_same, came, stored, [strictly] * len(came)))
    if type(came) is type(stored):
        return bool(came == stored)
    return not strictly and {type(came), type(stored)} == {int, float} and bool(came == stored)
