"""One Parquet input: its batches, its row ids, and a cursor that cuts any ranges of rows out of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raygen.data.paths import Place, place_of
from raygen.data.sources.keys import key_texts
from raygen.data.sources.lines import Fault
from raygen.data.sources.records import row_columns
from raygen.data.sources.values import unreadable_rows
from raygen.errors import SourceError
from raygen.storage import Store

BATCH_ROWS = 8192
BATCH_BYTES = 8 * 2**20  # by the footer's figure, before decoding
STREAM_BYTES = 2**20  # a column is fetched in pieces of this size, however large its row group
BROKEN = (OSError, pa.ArrowException, MemoryError, ValueError)  # what pyarrow raises on broken pages


class ParquetInput:
    """An open Parquet file. Raises SourceError if its footer cannot be read."""

    def __init__(self, store: Store, key: str, name: str) -> None:
        self.name = name
        self._raw = store.open(key)
        try:
            self._parquet = pq.ParquetFile(
                pa.PythonFile(self._raw, mode="r"),
                pre_buffer=False,
                buffer_size=STREAM_BYTES,
                page_checksum_verification=True,
            )
            self.schema: pa.Schema = self._parquet.schema_arrow
        except BROKEN as error:
            self._raw.close()
            raise SourceError(
                f"{store.uri_of(key)} is not a Parquet file, or its footer is broken ({first_line(error)}); "
                "a glob such as folder/**/*.parquet leaves other files out"
            ) from None
        metadata = self._parquet.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        self._group_rows = [group.num_rows for group in groups]
        self._group_bytes = [group.total_byte_size for group in groups]
        self.group_starts = [0, *accumulate(self._group_rows)]
        self.rows: int = self.group_starts[-1]

    def __enter__(self) -> ParquetInput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._parquet.close(force=True)
        self._raw.close()

    def place(self, path: str) -> Place | None:
        """Return where a column, or a path into one, is in this file; None: nowhere."""
        return place_of({each.name: each.type for each in self.schema}, path)

    def batches(self, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield a row group's batches; the file alone decides their sizes. Raises one of BROKEN."""
        row_bytes = self._group_bytes[group] / max(self._group_rows[group], 1)
        size = max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(row_bytes, 1))))
        rows = 0
        for batch in self._parquet.iter_batches(
            size, row_groups=[group], columns=list(columns), use_threads=False
        ):
            yield batch
            rows += batch.num_rows
        if rows != self._group_rows[group]:
            raise pa.ArrowInvalid(
                f"the footer promises {self._group_rows[group]} rows, the pages hold {rows}"
            )

    def ids(self, key: str | None) -> Iterator[pa.Array]:
        """Yield the row ids of the whole file, null where the key is."""
        for group in range(len(self._group_rows)):
            yield from self.group_ids(group, key)

    def group_ids(self, group: int, key: str | None) -> Iterator[pa.Array]:
        """Yield the row ids of one row group; by ordinal from where its keys cannot be read."""
        row, stop = self.group_starts[group : group + 2]
        if key is not None:
            try:
                for batch in self.batches(group, [key]):
                    yield self.ids_of(batch, key, row)
                    row += batch.num_rows
            except BROKEN:
                pass  # whoever reads these rows gets the error
        for start in range(row, stop, BATCH_ROWS):
            yield self._ordinal_ids(start, min(start + BATCH_ROWS, stop))

    def ids_of(self, batch: pa.RecordBatch, key: str | None, first_row: int) -> pa.Array:
        """Return the row ids of a batch; by ordinal where there is no key, or it cannot be read."""
        if key is None:
            return self._ordinal_ids(first_row, first_row + batch.num_rows)
        place = self.place(key)
        assert place is not None
        keys = place.of(batch)
        unreadable = unreadable_rows({key: keys})
        if not unreadable:
            return key_texts(keys)
        return pc.if_else(
            pa.array([row in unreadable for row in range(len(keys))]),
            self._ordinal_ids(first_row, first_row + len(keys)),
            key_texts(without(keys, unreadable)),
        )

    def first_value(self, place: Place) -> tuple[int, Any] | None:
        """Return the first row with a value there, and the value; None: there is none that can be read."""
        row = 0
        try:
            for group in range(len(self._group_rows)):
                for batch in self.batches(group, [place.name]):
                    values = place.of(batch)
                    if values.null_count < len(values):
                        first = pc.index(pc.is_valid(values), True).as_py()
                        return row + first, values[first].as_py()
                    row += len(values)
        except BROKEN:
            pass
        return None

    def _ordinal_ids(self, start: int, stop: int) -> pa.Array:
        return pc.binary_join_element_wise(self.name, pa.array(np.arange(start, stop)).cast(pa.string()), "#")


class ParquetCursor:
    """Gives out tables of any rows; rows in order decode every row group once, and hold one batch of it.

    Args:
        columns: those to read, and paths into them. None: all of the file's.
        key: the column that row ids come from, None for ordinals.
        folders: what the file's folders say, for columns that it lacks; others are null.
    """

    def __init__(
        self,
        file: ParquetInput,
        columns: Sequence[str] | None,
        key: str | None,
        folders: Mapping[str, str | None] | None = None,
    ) -> None:
        self._file = file
        self._key = key
        self._folders = folders or {}
        wanted = list(file.schema.names if columns is None else columns)
        found = {path: file.place(path) for path in dict.fromkeys([*wanted, *([key] if key else [])])}
        self._places = {place.name: place for place in found.values() if place is not None}
        self._columns = list(dict.fromkeys(place.name if (place := found[path]) else path for path in wanted))
        self._group = -1
        self._pieces: Iterator[tuple[int, pa.RecordBatch | pa.Array, str]] = iter(())
        self._start = self._stop = 0  # the rows that `_table` holds
        self._table = pa.table({})

    def take(self, start: int, stop: int) -> pa.Table:
        """Return rows [start, stop) of the file."""
        parts = []
        while start < stop:
            if not self._start <= start < self._stop:
                self._move_to(start)
            parts.append(self._table.slice(start - self._start, stop - start))
            start += parts[-1].num_rows
        return pa.concat_tables(parts)

    def _move_to(self, row: int) -> None:
        group = bisect_right(self._file.group_starts, row) - 1
        if group != self._group or row < self._start:
            self._group, self._pieces = group, self._read_group(group)
        for start, found, error in self._pieces:
            if start + len(found) > row:
                self._start, self._stop = start, start + len(found)
                self._table = self._lost(start, found, error) if error else self._read(start, found)
                return
        raise AssertionError(f"{self._file.name}: row {row} is not in row group {group}")

    def _read_group(self, group: int) -> Iterator[tuple[int, pa.RecordBatch | pa.Array, str]]:
        """Yield (first row, batch, ""), from where the group is broken on (first row, row ids, the error)."""
        row = self._file.group_starts[group]
        try:
            for batch in self._file.batches(group, list(self._places)):
                yield row, batch, ""
                row += batch.num_rows
        except BROKEN as error:
            done = self._file.group_starts[group]
            for ids in self._file.group_ids(group, self._key):
                rest = ids.slice(max(0, row - done))
                if len(rest):
                    yield (
                        done + len(ids) - len(rest),
                        rest,
                        f"row group {group} cannot be read: {first_line(error)}",
                    )
                done += len(ids)

    def _read(self, first_row: int, batch: pa.RecordBatch) -> pa.Table:
        ids = self._file.ids_of(batch, self._key, first_row)
        columns = {name: place.of(batch) for name, place in self._places.items()}
        faults = unreadable_rows(columns)
        if faults:
            columns = {name: without(column, faults) for name, column in columns.items()}
        return self._lay_out(first_row, ids, faults, columns)

    def _lost(self, first_row: int, ids: pa.Array, error: str) -> pa.Table:
        faults = {row: Fault("corrupt_row_group", error) for row in range(len(ids))}
        return self._lay_out(
            first_row, ids, faults, {n: pa.nulls(len(ids), each.type) for n, each in self._places.items()}
        )

    def _lay_out(
        self, first_row: int, ids: pa.Array, faults: dict[int, Fault], columns: dict[str, pa.Array]
    ) -> pa.Table:
        name = self._file.name
        errors = {i: Fault(f.code, f"{name}, row {first_row + i}: {f.message}") for i, f in faults.items()}
        wanted = {
            column: columns[column] if column in columns else self._given(column, len(ids), faults)
            for column in self._columns
        }
        return pa.table({**row_columns(ids, errors), **wanted})

    def _given(self, column: str, rows: int, faults: dict[int, Fault]) -> pa.Array:
        """Return what the folders say of a column that the file lacks; nulls where they say nothing."""
        value = self._folders.get(column)
        if value is None:
            return pa.nulls(rows)
        return pa.array([None if row in faults else value for row in range(rows)], pa.string())


def without(column: pa.Array, rows: dict[int, Fault]) -> pa.Array:
    """Return `column` with nulls in place of some rows."""
    return column.take(pa.array([None if row in rows else row for row in range(len(column))], pa.int64()))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, cut to 200 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
