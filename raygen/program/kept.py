"""Kept: the input columns that a job passes through, laid out before anything is generated, each value as it came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from raygen.data.sources.base import JSON
from raygen.data.sources.exact import JSON_TEXT, exact_array
from raygen.formatting import cut
from raygen.json_text import write_json

SHOWN = 60  # characters of a value in a message
_WORDS = {
    pa.string(): "text",
    pa.int64(): "whole numbers",
    pa.float64(): "fractions",
    pa.bool_(): "true or false",
}


def kept_columns(
    table: pa.Table,
    rows: Sequence[Mapping[str, Any]],
    keep: Mapping[str, str],
    kinds: Mapping[str, pa.DataType],
) -> tuple[dict[str, pa.Array | pa.ChunkedArray], dict[int, str]]:
    """Lay out what an outcome keeps of its row.

    The plan chose types that hold every value of the source. Only where they came from a sample of the rows (as in runs of
    an earlier version), or from files that do not agree, a value may not fit.

    Args:
        table: a chunk, as it was read; rows: the same as dicts.
        keep: name in the outcome -> column of the source; kinds: name -> the type that is pinned in the plan.

    Returns:
        The columns by name, and for each row with a value that does not fit why; that value is null.
    """
    columns, misfits = {}, {}
    for name, kind in kinds.items():
        column = keep[name]
        if JSON not in table.column_names and column in table.column_names:
            columns[name], wrong = _typed(table.column(column), kind)
        else:  # also of a path that leads into text
            columns[name], wrong = _untyped([row.get(column) for row in rows], kind)
        for number, value in wrong.items():
            stored_as = f"{_WORDS[kind]} ({kind})" if kind in _WORDS else str(kind)
            misfits[number] = (
                f"keep: column {column!r} is stored as {stored_as} in this run, which cannot hold {value} as it is"
            )
    return columns, misfits


def _untyped(values: list[Any], kind: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    array, wrong = exact_array(values, kind, strictly=False), {}
    if array is None:
        for number, value in enumerate(values):
            if exact_array([value], kind, strictly=False) is None:
                wrong[number], values[number] = cut(write_json(value, default=str).decode(), SHOWN), None
        array = exact_array(values, kind, strictly=False)
    return pa.ExtensionArray.from_storage(JSON_TEXT, array) if kind == JSON_TEXT else array, wrong


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[pa.ChunkedArray, dict[int, str]]:
    if column.type == kind:
        return column, {}
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), kind)]), {}
    try:
        return column.cast(kind), {}  # raises where a value would change
    except pa.ArrowException:
        pass
    wrong: dict[int, str] = {}
    parts = []
    for number in range(len(column)):
        one = column.slice(number, 1)
        try:
            parts.append(one.cast(kind).combine_chunks())
        except pa.ArrowException:
            wrong[number] = cut(str(one[0].as_py()), SHOWN)
            parts.append(pa.nulls(1, kind))
    return pa.chunked_array(parts, kind), wrong
