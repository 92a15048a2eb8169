"""Parquet: planned from footers and keys, read in batches; a broken row group costs its own rows only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raygen.data.paths import carriers, dotted, type_at
from raygen.data.sources.base import RESERVED, InputFile, Range, SourcePlan, SourceReader
from raygen.data.sources.columns import storable
from raygen.data.sources.inputs import Found, OpenInput, changed, list_inputs
from raygen.data.sources.keys import ALLOWED, KeyCheck, fits_as_key, null_key, short
from raygen.data.sources.parquet_file import ParquetCursor, ParquetInput
from raygen.data.sources.partitions import partitions_of
from raygen.errors import SourceError
from raygen.storage import Store


class ParquetReader(SourceReader):
    """Ranges are rows, whatever the row groups. Files may differ in columns and in the width of numbers.

    In what nobody reads they may differ altogether.
    """

    numbered = True

    def pin(self, chunk_rows: int, used: Collection[str] | None) -> SourcePlan:
        inputs = list_inputs(self.source)
        pinned: list[InputFile] = []
        ranges: list[Range] = []
        columns = _Columns(used, self.source.key)
        left = self.source.max_rows
        with KeyCheck(f"the key column {self.source.key!r}") as check:
            for number, found in enumerate(inputs):
                if left == 0:
                    break
                with ParquetInput(found.store, found.info.key, found.name) as file:
                    columns.add(file.schema, found)
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
        types = {name: storable(kind) for name, kind in columns.types.items()}
        return SourcePlan(pinned, ranges, types, sampled=False)

    def read(
        self, inputs: Sequence[InputFile], ranges: Iterable[Range], columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        @contextmanager
        def opening(store: Store, key: str, pinned: InputFile) -> Iterator[tuple[int, ParquetCursor]]:
            with ParquetInput(store, key, pinned.name) as file:
                yield file.rows, ParquetCursor(file, columns, self.source.key, partitions_of(pinned.uri))

        with OpenInput(inputs, self.source.storage, opening) as open_input:
            for each in ranges:
                pinned, (rows, cursor) = open_input.of(each)
                if each.stop > rows:
                    raise changed(pinned.uri)
                yield cursor.take(each.start, each.stop)


class _Columns:
    """The columns of all files, and the used paths into them, with types that hold what each file has.

    Args:
        used: names and paths whose types have to agree; None: those of all columns.
        key: its values become text, whatever their type.
    """

    def __init__(self, used: Collection[str] | None, key: str | None) -> None:
        self.types: dict[str, pa.DataType] = {}
        self._used = used
        self._key = key
        self._seen: dict[str, str] = {}  # column or path -> the last file that gave it a type

    def add(self, schema: pa.Schema, found: Found) -> None:
        """Add a file's columns to those of the files before it. Raises SourceError: used names or types clash."""
        repeated = {name for name in schema.names if schema.names.count(name) > 1} | (
            RESERVED & set(schema.names)
        )
        if self._used is not None:
            repeated &= set(carriers([*self._used, self._key or ""], schema.names))
        if repeated:
            raise SourceError(
                f"{found.uri}: column names are taken or occur twice: {', '.join(sorted(repeated))}; rename them"
            )
        plain = {each.name: _plain(each.type) for each in schema}
        for name, kind in plain.items():
            self._merge(name, kind, found, matters=self._used is None or name in self._used)
        for name in partitions_of(found.uri):
            if name in (self._used or ()) and name not in plain:
                self._merge(name, pa.string(), found, matters=True)
        for path in dotted(self._used or ()):
            inner = type_at(plain, path)
            if path not in plain and inner is not None:
                self._merge(path, inner, found, matters=True)

    def _merge(self, name: str, kind: pa.DataType, found: Found, matters: bool) -> None:
        before = self.types.get(name)
        try:
            self.types[name] = kind if before is None else _both(before, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            if matters:
                raise SourceError(
                    f"{found.uri}: column {name!r} is {kind}; in {self._seen[name]} it is {before}: no type holds both"
                ) from None
            return
        if before is None or self.types[name] != before:
            self._seen[name] = found.name


def _both(before: pa.DataType, kind: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both. Raises one of pyarrow's errors: there is none."""
    schemas = [pa.schema([("column", each)]) for each in (before, kind)]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _plain(kind: pa.DataType) -> pa.DataType:
    # A file's own word that a text is JSON: nobody has looked at it.
    return kind.storage_type if isinstance(kind, pa.JsonType) else _without_dictionary(kind)


def _without_dictionary(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_key(key: str, file: ParquetInput) -> None:
    place = file.place(key)
    if place is None or place.rest:
        raise SourceError(
            f"{file.name}: source.key: no column {key!r}; columns: {', '.join(file.schema.names)}"
        )
    kind = _without_dictionary(place.type)
    if not fits_as_key(kind):
        found = file.first_value(place)
        example = "" if found is None else f" ({short(found[1])} in row {found[0]})"
        raise SourceError(f"{file.name}: source.key: column {key!r} holds {kind}{example}; {ALLOWED}")


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
