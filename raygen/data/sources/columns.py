"""Columns: what types do rows without a schema have? And how must a type look to be stored anywhere?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from raygen.json_text import depth

SAMPLE_ROWS = 1000
DEEPEST = 16  # levels of nesting that a Parquet column can reasonably hold


def infer_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, pa.DataType]:
    """Return the columns of sampled rows, in order of appearance; string where all is null or types clash."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: _infer(column) for name, column in values.items()}


def storable(kind: pa.DataType) -> pa.DataType:
    """Return `kind` as any file takes it: dictionaries as their values, string for null and empty structs."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return storable(kind.value_type)
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        if kind.num_fields == 0:
            return pa.string()
        return pa.struct([_storable_field(kind.field(i)) for i in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return pa.list_(_storable_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_storable_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_storable_field(kind.value_field), kind.list_size)
    if pa.types.is_map(kind):
        return pa.map_(storable(kind.key_type), _storable_field(kind.item_field))
    return kind


def _storable_field(field: pa.Field) -> pa.Field:
    return field.with_type(storable(field.type))


def _infer(values: list[Any]) -> pa.DataType:
    if max(map(depth, values)) > DEEPEST:
        return pa.string()
    try:
        return storable(pa.array(values).type)  # `pa.infer_type` does not mind values that clash
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.string()
