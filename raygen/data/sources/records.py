"""Records: what JSON Lines and CSV share. One pass finds where rows begin; ranges are positions of lines."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raygen.data.paths import dotted, type_at
from raygen.data.sources.base import (
    ERROR_CODE,
    ERROR_MESSAGE,
    ROW_ID,
    InputFile,
    Range,
    SourcePlan,
    SourceReader,
)
from raygen.data.sources.columns import SAMPLE_ROWS
from raygen.data.sources.cutter import Cutter
from raygen.data.sources.exact import ExactTypes
from raygen.data.sources.inputs import Found, OpenInput, changed, list_inputs
from raygen.data.sources.keys import KeyCheck
from raygen.data.sources.lines import Fault, Line, LineFile, is_compressed
from raygen.data.sources.partitions import partitions_of
from raygen.errors import RowError, SourceError
from raygen.storage import Store

HEAD_ROWS = 8  # of an input, looked at together
WIDEST_GROUP = 64  # ranges of one compressed file that are read, and decompressed, together

# A record with its position and the position behind it.
Record = tuple[int, int, Line]


class _LineNumbers:
    """Numbers the lines that pass, for messages; a format may look at lines ahead of the record that it gives out."""

    def __init__(self, lines: Iterator[tuple[int, Line]], before: int) -> None:
        self._lines = lines
        self._last = self._reached = before
        self._ahead: deque[tuple[int, int]] = deque()  # (position behind a line, its number)

    def __iter__(self) -> Iterator[tuple[int, Line]]:
        for stop, line in self._lines:
            self._last += 1
            self._ahead.append((stop, self._last))
            yield stop, line

    def at(self, stop: int) -> int:
        """Return the number, from 1, of the line that ends at `stop`: the last one of a record."""
        while self._ahead and self._ahead[0][0] <= stop:
            self._reached = self._ahead.popleft()[1]
        return self._reached


@dataclass(slots=True)
class _Seen:
    """What a plan has seen of the rows so far."""

    sample: list[Any] = field(default_factory=list)  # the first rows, parsed
    exact: ExactTypes | None = None  # of the columns that are asked for, over all rows
    first_fault: str | None = None  # why the first row that cannot be read cannot
    parsed: int = 0
    keyed: int = 0  # how many of the parsed rows had a key
    unkeyed: str | None = None  # why the first of them without a key has none, and where


class RecordReader(SourceReader):
    """A format whose rows are records of one or more lines. A subclass says what a record is and holds."""

    numbered = True
    header_lines = 0  # lines before the first row
    planning = False
    used: Collection[str] | None = None  # while planning; None: all columns

    @abstractmethod
    def begin(self, file: LineFile, name: str) -> int:
        """Read what stands before the rows; return the position of the first. Raises SourceError."""

    @abstractmethod
    def records(self, lines: Iterator[tuple[int, Line]], start: int) -> Iterator[Record]:
        """Put lines together to records. The same whether the lines are a range's or the whole input's."""

    @abstractmethod
    def parse(self, record: bytes) -> Any:
        """Return a record's values. Raises RowError."""

    @abstractmethod
    def key_of(self, value: Any, where: str) -> str:
        """Return the row id; called if the source has a key. Raises RowError `missing_key`, SourceError."""

    @abstractmethod
    def keep(self, record: bytes, value: Any) -> Any:
        """Return what `lay_out` needs of a row."""

    @abstractmethod
    def lay_out(
        self, kept: list[Any], columns: Sequence[str] | None, folders: Mapping[str, str | None]
    ) -> dict[str, pa.Array]:
        """Return the columns of a table.

        Args:
            kept: None for rows that cannot be read. folders: what the folders of the file say, for columns that it lacks.
        """

    @abstractmethod
    def columns_of(self, sample: list[Any]) -> tuple[dict[str, pa.DataType], bool]:
        """Return the plan's columns and whether they come from the sample of parsed rows."""

    def exact_types(self, names: Collection[str]) -> ExactTypes | None:
        """Return what finds the types of columns over all rows; None: the format has one type for all."""
        return None

    def check_head(self, head: Sequence[bytes], uri: str) -> None:
        """Look at the first records of an input. Raises SourceError: they show that it is of another format."""

    def pin(self, chunk_rows: int, used: Collection[str] | None) -> SourcePlan:
        self.planning, self.used = True, used
        inputs = list_inputs(self.source)
        cutter = Cutter(chunk_rows, self.source.max_rows)
        pinned: list[InputFile] = []
        with KeyCheck(f"the key column {self.source.key!r}") as check:
            seen = _Seen(exact=self.exact_types(self.exact))
            for number, found in enumerate(inputs):
                if cutter.full:
                    break
                pinned.append(self._plan_file(number, found, cutter, check, seen))
            columns, sampled = self.columns_of(seen.sample)
            self._check_keyed(seen)
            check.finish(inputs)
        exact = seen.exact.types() if seen.exact is not None else {}
        whole = {name: kind for name, kind in exact.items() if not dotted([name])}  # some come late
        return SourcePlan(pinned, cutter.ranges, {**whole, **columns}, sampled, exact, seen.first_fault)

    def _plan_file(
        self, number: int, found: Found, cutter: Cutter, check: KeyCheck, seen: _Seen
    ) -> InputFile:
        with LineFile(found.store, found.info.key, self.source.max_line_bytes, hashing=True) as file:
            start = self.begin(file, found.name)
            cutter.begin(number, start, self.header_lines)
            lines = _LineNumbers(file.lines(start), self.header_lines)
            folders = {name: text for name, text in partitions_of(found.uri).items() if name in self.exact}
            head: list[bytes] = []
            for row, (_, stop, record) in enumerate(self.records(iter(lines), start)):
                line = lines.at(stop)
                if isinstance(record, Fault) and record.code == "corrupt_archive" and row == 0:
                    raise SourceError(f"{found.uri}: {record.message}")
                if row < HEAD_ROWS and isinstance(record, bytes):
                    head.append(record)
                if row == HEAD_ROWS and head:
                    self.check_head(head, found.uri)
                    head.clear()
                if self.source.key is not None or seen.exact is not None or len(seen.sample) < SAMPLE_ROWS:
                    where = f"{found.name}, line {line}"
                    row_id = self._look_at(record, where, seen, folders) or f"{found.name}#{row}"
                    if self.source.key is not None:
                        check.add(row_id, number, row)
                if not cutter.add(stop, line):
                    break
            if head:
                self.check_head(head, found.uri)
            cutter.end()
            digest = file.digest()
        if digest is not None and found.store.stat(found.info.key).version != found.info.version:
            raise SourceError(f"{found.uri} changed while it was read; run again when it is complete")
        return found.pin(digest)

    def _look_at(
        self, record: Line, where: str, seen: _Seen, folders: Mapping[str, str | None]
    ) -> str | None:
        """Sample a record and return its key, None if it has none or cannot be read."""
        try:
            if isinstance(record, Fault):
                raise RowError(record.code, record.message)
            value = self.parse(record)
        except RowError as error:
            seen.first_fault = seen.first_fault or f"{where}: {error.message}"
            return None
        seen.parsed += 1
        if len(seen.sample) < SAMPLE_ROWS:
            seen.sample.append(value)
        key = None
        if self.source.key is not None:
            if seen.parsed == SAMPLE_ROWS:
                self._check_keyed(seen)
            try:
                key = self.key_of(value, where)
            except RowError as error:
                seen.unkeyed = seen.unkeyed or f"{where}: {error.message}"
                return None
            seen.keyed += 1
        if seen.exact is not None:
            seen.exact.add({**folders, **value} if folders else value, len(record))
        return key

    def _check_keyed(self, seen: _Seen) -> None:
        if self.source.key is not None and seen.parsed and not seen.keyed:
            columns, _ = self.columns_of(seen.sample)
            why = seen.unkeyed if type_at(columns, self.source.key) else f"no column {self.source.key!r}"
            raise SourceError(f"source.key: {why}; columns: {', '.join(columns) or 'none'}")

    def read(
        self, inputs: Sequence[InputFile], ranges: Iterable[Range], columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        with OpenInput(inputs, self.source.storage, self._opening) as open_input:
            for each in ranges:
                pinned, file = open_input.of(each)
                yield self._read_range(file, pinned, each, columns)

    @contextmanager
    def _opening(self, store: Store, key: str, pinned: InputFile) -> Iterator[LineFile]:
        with LineFile(store, key, self.source.max_line_bytes) as file:
            self.begin(file, pinned.name)
            yield file

    def _read_range(
        self, file: LineFile, pinned: InputFile, each: Range, columns: Sequence[str] | None
    ) -> pa.Table:
        keyed = self.source.key is not None
        ids: list[str] = []
        kept: list[Any] = []
        errors: dict[int, Fault] = {}
        lines = _LineNumbers(file.lines(each.start, each.stop), each.first_line)
        for row, (_, stop, record) in enumerate(self.records(iter(lines), each.start), each.first_row):
            row_id = None
            try:
                if isinstance(record, Fault):
                    raise RowError(record.code, record.message)
                value = self.parse(record)
                if keyed:
                    row_id = self.key_of(value, pinned.name)
                kept.append(self.keep(record, value))
            except RowError as error:
                kept.append(None)
                where = f"{pinned.name}, line {lines.at(stop)} (row #{row})"  # ids count rows from 0
                errors[len(ids)] = Fault(error.code, f"{where}: {error.message}")
            ids.append(row_id or f"{pinned.name}#{row}")
        if len(ids) != each.rows:
            raise changed(pinned.uri)
        laid_out = self.lay_out(kept, columns, partitions_of(pinned.uri))
        return pa.table({**row_columns(ids, errors), **laid_out})

    def group(self, inputs: Sequence[InputFile], ranges: Sequence[Range], size: int) -> list[list[Range]]:
        """Keep the ranges of a compressed file together."""
        groups: list[list[Range]] = []
        for each in ranges:
            room = max(size, WIDEST_GROUP) if is_compressed(inputs[each.file].name) else size
            if groups and groups[-1][0].file == each.file and len(groups[-1]) < room:
                groups[-1].append(each)
            else:
                groups.append([each])
        return groups


def row_columns(ids: Sequence[str] | pa.Array, errors: dict[int, Fault]) -> dict[str, pa.Array]:
    """Return the columns that every table begins with. `errors` is by position in the table."""
    codes: list[str | None] = [None] * len(ids)
    messages: list[str | None] = [None] * len(ids)
    for position, error in errors.items():
        codes[position], messages[position] = error.code, error.message
    return {
        ROW_ID: ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string()),
        ERROR_CODE: pa.array(codes, pa.string()),
        ERROR_MESSAGE: pa.array(messages, pa.string()),
    }
