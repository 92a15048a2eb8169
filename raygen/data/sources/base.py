"""The source contract: pin ranges of rows from metadata, then read any range again, alike every time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pyarrow as pa

from raygen.config.source import Source
from raygen.data.paths import dotted, spread, type_at
from raygen.data.sources.partitions import partitions_of
from raygen.json_text import read_json

# Reserved columns of a chunk's table. A job's own columns may not start with "__".
ROW_ID = "__row_id"  # string, never null, unique over the source
ERROR_CODE = "__error_code"  # string; null where the row could be read
ERROR_MESSAGE = "__error_message"  # string; names file and line (or row, or member)
JSON = "__json"  # large_binary: the row as one JSON object, for formats without column types
RESERVED = frozenset((ROW_ID, ERROR_CODE, ERROR_MESSAGE, JSON))


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input, pinned. A run refuses to resume when `digest` differs."""

    uri: str
    name: str  # short and unique in the source: the default row ids start with it
    size_bytes: int
    digest: str  # `sha256:...` of a local file, `etag:...` of an S3 object
    version: str  # of ObjectInfo, when planned: while it stands, the digest needs no second reading


@dataclass(frozen=True, slots=True)
class Range:
    """A fixed range of input rows: one chunk's rows. Units of start and stop are the format's own."""

    file: int  # index into SourcePlan.inputs (for folders: of the first file)
    start: int
    stop: int
    rows: int  # exactly how many rows it holds, broken ones included
    first_row: int  # ordinal, within its file, of the first row
    first_line: int = 0  # of line formats: how many lines stand before it, so that messages can name lines


@dataclass(frozen=True, slots=True)
class SourcePlan:
    inputs: list[InputFile]
    ranges: list[Range]
    columns: dict[
        str, pa.DataType
    ]  # of the rows, in order; for untyped formats as seen in a sample; used paths among them
    sampled: bool  # True when `columns` comes from a sample of the rows, not from a schema
    exact: Mapping[str, pa.DataType] = field(
        default_factory=dict
    )  # of columns over all rows, where that was asked for
    first_fault: str | None = None  # why the first row cannot be read, when none of the sample can


class SourceReader(ABC):
    """One source format. Rows stream: memory is bounded by one chunk, whatever the size of the input."""

    numbered: ClassVar[bool] = False  # are rows without a key called by their file and their number in it?

    def __init__(self, source: Source) -> None:
        self.source = source
        self.exact: Collection[str] = ()  # while planning

    def plan(
        self, chunk_rows: int, used: Collection[str] | None = None, exact: Collection[str] = ()
    ) -> SourcePlan:
        """List and pin the inputs, cut them into ranges of at most `chunk_rows` rows, `max_rows` in all.

        Args:
            used: the columns that will be read, and paths into columns: what others hold in some of the files is of no
                matter. None: all.
            exact: used columns and paths whose type has to hold every row's value as it is; a format without column types
                looks at all rows for that.

        Returns:
            The plan. Used paths that lead somewhere, and used names that folders give (`lang=en/`), are columns of it.

        Raises SourceError: nothing matches, an input is unreadable as a whole, the key column is missing,
        null or has duplicates (says which ids, where), files do not agree on a used column.
        AccessError: bucket or credentials.
        """
        self.exact = exact
        found = self.pin(chunk_rows, used)
        if not found.columns:
            return found
        columns = dict(found.columns)
        folders = {name for each in found.inputs for name in partitions_of(each.uri)}
        for name in used or ():
            kind = columns.get(name) or type_at(found.columns, name)
            if kind is None and name in folders:
                kind = pa.string()
            if kind is not None:
                columns[name] = kind
        return replace(found, columns=columns)

    @abstractmethod
    def pin(self, chunk_rows: int, used: Collection[str] | None) -> SourcePlan:
        """Do the work of `plan`, but for paths and folders' names."""

    @abstractmethod
    def read(
        self, inputs: Sequence[InputFile], ranges: Iterable[Range], columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        """Yield one table a range, in order, with exactly `range.rows` rows.

        Each has ROW_ID, ERROR_CODE, ERROR_MESSAGE, then either the columns asked for (None: all) or JSON.
        In place of a path into a column there may be the column, or a part of the path. A column that a file lacks
        has the value that its folders give, or null. A row that cannot be read has an error and nulls.
        Raises SourceError when an input changed since it was planned.
        """

    def ids(self, inputs: Sequence[InputFile], ranges: Sequence[Range]) -> Iterator[pa.Array]:
        """Yield the row ids of each range, in order, reading as little as that takes. Raises as `read` does."""
        if self.source.key is None and self.numbered:
            for each in ranges:
                name = inputs[each.file].name
                yield pa.array([f"{name}#{row}" for row in range(each.first_row, each.first_row + each.rows)])
            return
        for table in self.read(inputs, ranges, []):
            yield table.column(ROW_ID).combine_chunks()

    def group(self, inputs: Sequence[InputFile], ranges: Sequence[Range], size: int) -> list[list[Range]]:
        """Cut `ranges` into groups that one reading task serves; those of files without random access are wider."""
        return [list(ranges[i : i + size]) for i in range(0, len(ranges), size)]


def rows_of(table: pa.Table, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a chunk's table as dicts of the source's own columns; without any for an unreadable JSON row.

    Args:
        columns: what was asked for. Paths among them are in the rows too, by their names.
    """
    paths = dotted(columns)
    for row in _plain_rows(table):
        yield spread(row, paths) if paths else row


def _plain_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    if JSON in table.column_names:
        others = table.drop_columns([ROW_ID, ERROR_CODE, ERROR_MESSAGE, JSON])  # what folders give
        given = others.to_pylist() if others.num_columns else [{}] * table.num_rows
        for line, folders in zip(table.column(JSON), given, strict=True):
            raw = line.as_py()
            row = read_json(raw) if raw is not None else {}
            yield {**folders, **row} if folders and raw is not None else row
        return
    yield from table.drop_columns([ROW_ID, ERROR_CODE, ERROR_MESSAGE]).to_pylist()
