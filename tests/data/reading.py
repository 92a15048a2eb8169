"""What every reader's tests do: plan a source, read it all, check what the contract promises of any source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import settings

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.data.sources.base import ERROR_CODE, ERROR_MESSAGE, ROW_ID, SourcePlan, rows_of

# Machines that test are busy: how long one example takes says nothing.
PROPERTY = settings(deadline=None, max_examples=40)


@dataclass(frozen=True)
class Row:
    id: str
    code: str | None
    message: str | None
    values: dict[str, Any]


def plan(source: Source, chunk_rows: int = 3) -> SourcePlan:
    return open_source(source).plan(chunk_rows)


def read_all(source: Source, chunk_rows: int = 3, columns: Sequence[str] | None = None) -> list[Row]:
    """Plan and read a source; fresh readers read, as workers' would. Every range is read in a group and alone."""
    planned = plan(source, chunk_rows)
    groups = open_source(source).group(planned.inputs, planned.ranges, 2)
    assert [each for group in groups for each in group] == planned.ranges
    tables = [t for group in groups for t in open_source(source).read(planned.inputs, group, columns)]
    for each, table in zip(planned.ranges, tables, strict=True):
        assert table.num_rows == each.rows <= chunk_rows
        (again,) = open_source(source).read(planned.inputs, [each], columns)
        assert again.equals(table)
    rows = [
        Row(*found)
        for table in tables
        for found in zip(
            *(table.column(name).to_pylist() for name in (ROW_ID, ERROR_CODE, ERROR_MESSAGE)),
            list(rows_of(table, columns or ())),
            strict=True,
        )
    ]
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert (row.code is None) == (row.message is None)
        assert row.code is None or not any(value is not None for value in row.values.values())
    return rows
