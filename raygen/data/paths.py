"""Paths: a value inside a column of objects, by names with dots between: `body.messages`. A column of that very name wins."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raygen.json_text import read_json

ANY = pa.json_()  # the type of what stands inside text: JSON, of whatever kind


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads among typed columns: a column, fields of objects in it, and the rest of the path inside text."""

    column: str
    fields: tuple[str, ...]
    rest: str  # empty, unless the path goes on inside text that has to be read as JSON first
    type: pa.DataType  # of what stands at column and fields

    @property
    def name(self) -> str:
        """The path, as far as columns and fields go."""
        return ".".join((self.column, *self.fields))

    def of(self, batch: pa.RecordBatch | pa.Table) -> pa.Array:
        """Return the values of a batch that has the column."""
        found = batch.column(self.column)
        for field in self.fields:
            found = pc.struct_field(found, field)
        return found


def place_of(columns: Mapping[str, pa.DataType], path: str) -> Place | None:
    """Return where a path leads among columns of these types; None: nowhere."""
    for head, rest in _cuts(path):
        if head not in columns:
            continue
        kind = columns[head]
        if not rest:
            return Place(head, (), "", kind)
        if pa.types.is_struct(kind):
            inner = place_of({field.name: field.type for field in kind.fields}, rest)
            return inner and Place(head, (inner.column, *inner.fields), inner.rest, inner.type)
        if _is_text(kind):
            return Place(head, (), rest, kind)
        return None
    return None


def type_at(columns: Mapping[str, pa.DataType], path: str) -> pa.DataType | None:
    """Return the type of what a path leads to; None: nowhere. ANY for what stands inside text."""
    place = place_of(columns, path)
    return place and (ANY if place.rest else place.type)


def fields_of(columns: Mapping[str, pa.DataType], path: str) -> list[str]:
    """Return the names of what is in the objects that a path leads to; none where it leads to something else."""
    kind = type_at(columns, path)
    return [field.name for field in kind.fields] if kind is not None and pa.types.is_struct(kind) else []


def names_in(columns: Mapping[str, pa.DataType]) -> Iterator[str]:
    """Yield the names of columns, and the paths of the fields of those that are objects."""
    for name, kind in columns.items():
        yield name
        if pa.types.is_struct(kind):
            for inner in names_in({field.name: field.type for field in kind.fields}):
                yield f"{name}.{inner}"


def carriers(paths: Iterable[str], columns: Iterable[str]) -> list[str]:
    """Return the columns that paths lead into, each once; a path that leads into none as it is."""
    there = set(columns)
    return list(dict.fromkeys(next((h for h, _ in _cuts(path) if h in there), path) for path in paths))


def value_at(row: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """Return what stands at a path of a row; text on the way is read as JSON. `default` where it leads nowhere."""
    for head, rest in _cuts(path):
        if head in row:
            value = row[head]
            if not rest:
                return value
            if isinstance(value, str):
                try:
                    value = read_json(value)
                except json.JSONDecodeError:
                    return default
            return value_at(value, rest, default) if isinstance(value, Mapping) else default
    return default


def is_in_text(row: Mapping[str, Any], path: str) -> bool:
    """Return whether a path of a row leads into a text, which is read as JSON."""
    return any(rest and isinstance(row.get(head), str) for head, rest in _cuts(path))


def spread(row: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Return a row with what stands at these paths beside its columns, by the path's name; null where there is nothing."""
    new = [path for path in paths if path not in row]
    return {**row, **{path: value_at(row, path) for path in new}} if new else row


def dotted(names: Iterable[str]) -> tuple[str, ...]:
    """Return those names that may be paths."""
    return tuple(name for name in names if "." in name)


def _cuts(path: str) -> Iterator[tuple[str, str]]:
    """Yield a path cut in two at each of its dots, the longest head first: the whole, and nothing behind it."""
    yield path, ""
    at = path.rfind(".")
    while at > 0:
        if at < len(path) - 1:
            yield path[:at], path[at + 1 :]
        at = path.rfind(".", 0, at)


def _is_text(kind: pa.DataType) -> bool:
    is_of = pa.types
    return bool(
        is_of.is_string(kind) or is_of.is_large_string(kind) or is_of.is_string_view(kind) or kind == ANY
    )
