"""Parquet: planned from footers and keys, read in batches; a broken row group costs its own rows only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raygen.data.base import RESERVED, InputFile, Range, SourcePlan, SourceReader
from raygen.data.columns import storable
from raygen.data.inputs import Found, Opener, changed, list_inputs
from raygen.data.keys import KeyCheck, null_key
from raygen.data.parquet_file import ParquetCursor, ParquetInput
from raygen.errors import SourceError


class ParquetReader(SourceReader):
    """Ranges are rows, whatever the row groups. Files may differ in columns and in the width of numbers."""

    def plan(self, chunk_rows: int) -> SourcePlan:
        inputs = list_inputs(self.source)
        pinned: list[InputFile] = []
        ranges: list[Range] = []
        schema = pa.schema([])
        left = self.source.max_rows
        with KeyCheck(f"the key column {self.source.key!r}") as check:
            for number, found in enumerate(inputs):
                if left == 0:
                    break
                with ParquetInput(found.store, found.info.key, found.name) as file:
                    schema = _merge(schema, file.schema, found)
                    rows = file.rows if left is None else min(file.rows, left)
                    left = None if left is None else left - rows
                    for start in range(0, rows, chunk_rows):
                        stop = min(start + chunk_rows, rows)
                        ranges.append(Range(number, start, stop, stop - start, start))
                    if self.source.key is not None:
                        _check_key(self.source.key, file)
                        _add_keys(self.source.key, file, number, rows, check)
                pinned.append(found.pin())
            check.finish(inputs)
        return SourcePlan(pinned, ranges, {each.name: storable(each.type) for each in schema}, sampled=False)

    def read(
        self, inputs: Sequence[InputFile], ranges: Iterable[Range], columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        opener = Opener(self.source.storage)
        open_number = -1
        with ExitStack() as stack:
            for each in ranges:
                pinned = inputs[each.file]
                if each.file != open_number:
                    stack.close()
                    store, key = opener.open(pinned)
                    file = stack.enter_context(ParquetInput(store, key, pinned.name))
                    cursor = ParquetCursor(file, columns, self.source.key)
                    open_number = each.file
                if each.stop > file.rows:
                    raise changed(pinned.uri)
                yield cursor.take(each.start, each.stop)


def _merge(schema: pa.Schema, new: pa.Schema, found: Found) -> pa.Schema:
    """Add a file's columns to those of the files before it. Raises SourceError: names or types clash."""
    repeated = {name for name in new.names if new.names.count(name) > 1} | (RESERVED & set(new.names))
    if repeated:
        raise SourceError(
            f"{found.uri}: column names are taken or occur twice: {', '.join(sorted(repeated))}; rename them"
        )
    plain = pa.schema([pa.field(each.name, _without_dictionary(each.type)) for each in new])
    try:
        return pa.unify_schemas([schema, plain], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SourceError(
            f"{found.uri}: its columns do not fit those of the files before it: {error}"
        ) from None


def _without_dictionary(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_key(key: str, file: ParquetInput) -> None:
    if key not in file.schema.names:
        raise SourceError(
            f"{file.name}: source.key: no column {key!r}; columns: {', '.join(file.schema.names)}"
        )
    kind = _without_dictionary(file.schema.field(key).type)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    # A column without any value is met row by row: a file without rows is no error.
    if not (text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise SourceError(
            f"{file.name}: source.key: column {key!r} is {kind}; a key is text or a whole number"
        )


def _add_keys(key: str, file: ParquetInput, number: int, rows: int, check: KeyCheck) -> None:
    first = 0
    for ids in file.ids(key):
        ids = ids.slice(0, rows - first)
        missing = pc.fill_null(pc.equal(ids, ""), True)
        if pc.any(missing).as_py():
            found = (np.flatnonzero(missing.to_numpy(zero_copy_only=False))[:5] + first).tolist()
            raise null_key(key, f"{file.name}, row {', '.join(map(str, found))}")
        check.ids.add(ids, number, np.arange(first, first + len(ids)))
        first += len(ids)
        if first == rows:
            return
