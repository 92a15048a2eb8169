"""CSV as RFC 4180 has it: a header, commas, quotes around fields with commas, quotes or line breaks."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from raygen.data.base import RESERVED
from raygen.data.keys import key_text
from raygen.data.lines import Fault, Line, LineFile
from raygen.data.records import Record, RecordReader
from raygen.errors import RowError, SourceError

# These patterns tell of one line whether a record ends there. Their repeats are possessive: no backtracking.
_INSIDE = rb'(?:[^"]++|"")*+'
_FIELD = rb'(?:"' + _INSIDE + rb'"(?=,|\Z)|(?!")[^,]*+)'
COMPLETE = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+")
OPENS = re.compile(rb"(?:" + _FIELD + rb',)*+"' + _INSIDE)
CLOSES = re.compile(_INSIDE + rb'"(?:,' + _FIELD + rb")*+")
STAYS_OPEN = re.compile(_INSIDE + rb'(?:"(?:,' + _FIELD + rb')*+,"' + _INSIDE + rb")?+")
FIELDS = re.compile(r',(?:"((?:[^"]++|"")*+)"|([^,]*+))')


class CsvReader(RecordReader):
    """Columns are strings. Quoted line breaks belong to their row; blank lines are no rows.

    A quote that is never closed, or is followed by anything but a comma, costs its own line and no other:
    reading goes on with the next line. A quoted field may be as long as `source.max_line_bytes`.
    """

    header_lines = 1

    _header: list[str]
    _key_at: int
    _first_file: str | None = None

    def begin(self, file: LineFile, name: str) -> int:
        for _, stop, record in self.records(file.lines(), 0):
            try:
                if isinstance(record, Fault):
                    raise RowError(record.code, record.message)
                header = _fields(record)
            except RowError as error:
                raise SourceError(f"{name}: the header cannot be read: {error.message}") from None
            self._take_header(header, name)
            return stop
        raise SourceError(f"{name}: empty; the first line must name the columns")

    def _take_header(self, header: list[str], name: str) -> None:
        header = [column or f"unnamed_{i}" for i, column in enumerate(header)]  # an index that pandas wrote
        repeated = {column for column in header if header.count(column) > 1} | (RESERVED & set(header))
        if repeated:
            raise SourceError(
                f"{name}: column names are taken or occur twice: {', '.join(sorted(repeated))}; rename them"
            )
        if self._first_file is None:
            key = self.source.key
            if key is not None and key not in header:
                raise SourceError(f"{name}: source.key: no column {key!r}; columns: {', '.join(header)}")
            self._header, self._first_file = header, name
            self._key_at = header.index(key) if key is not None else -1
        elif header != self._header:
            raise SourceError(
                f"{name}: its columns ({', '.join(header)}) differ from those of {self._first_file} "
                f"({', '.join(self._header)}); all files of a source have the same header"
            )

    def records(self, lines: Iterator[tuple[int, Line]], start: int) -> Iterator[Record]:
        given_back: deque[tuple[int, Line]] = deque()
        while (found := given_back.popleft() if given_back else next(lines, None)) is not None:
            stop, line = found
            if isinstance(line, Fault):
                yield start, stop, line
            elif b'"' not in line or COMPLETE.fullmatch(line.removesuffix(b"\r")):
                if line and not line.isspace():
                    yield start, stop, line.removesuffix(b"\r")
            elif OPENS.fullmatch(line):
                held = [found]
                end = self._gather(held, given_back, lines)
                if end is None:
                    given_back.extendleft(reversed(held[1:]))
                    yield (
                        start,
                        stop,
                        Fault("broken_csv", "a quoted field does not end as it should: a stray quote?"),
                    )
                else:
                    stop = end
                    yield (
                        start,
                        stop,
                        b"\n".join(line for _, line in held if isinstance(line, bytes)).removesuffix(b"\r"),
                    )
            else:
                yield (
                    start,
                    stop,
                    Fault("broken_csv", "a closing quote is not followed by a comma: a stray quote?"),
                )
            start = stop

    def _gather(
        self,
        held: list[tuple[int, Line]],
        given_back: deque[tuple[int, Line]],
        lines: Iterator[tuple[int, Line]],
    ) -> int | None:
        """Add lines to `held` up to the closing quote; return the position behind it, None if it fails."""
        size = len(held[0][1]) if isinstance(held[0][1], bytes) else 0
        while (found := given_back.popleft() if given_back else next(lines, None)) is not None:
            held.append(found)
            stop, line = found
            if isinstance(line, Fault):
                return None
            size += len(line) + 1
            if size > self.source.max_line_bytes:
                return None
            if CLOSES.fullmatch(line.removesuffix(b"\r")):
                return stop
            if not STAYS_OPEN.fullmatch(line):
                return None
        return None

    def parse(self, record: bytes) -> list[str]:
        fields = _fields(record)
        if len(fields) != len(self._header):
            raise RowError("broken_csv", f"{len(fields)} fields; the header has {len(self._header)}")
        return fields

    def key_of(self, value: Any, where: str) -> str:
        return key_text(value[self._key_at], self._header[self._key_at], where)

    def keep(self, record: bytes, value: Any) -> list[str]:
        fields: list[str] = value
        return fields

    def lay_out(self, kept: list[Any], columns: Sequence[str] | None) -> dict[str, pa.Array]:
        nulls = [None] * len(self._header)
        values = dict(zip(self._header, zip(*(row or nulls for row in kept), strict=True), strict=True))
        wanted = self._header if columns is None else columns
        return {name: pa.array(values.get(name, [None] * len(kept)), pa.string()) for name in wanted}

    def columns_of(self, sample: list[Any]) -> tuple[dict[str, pa.DataType], bool]:
        return dict.fromkeys(self._header, pa.string()), False


def _fields(record: bytes) -> list[str]:
    try:
        text = record.decode()
    except UnicodeDecodeError as wrong:
        message = f"not UTF-8: byte {wrong.start} of the row is {record[wrong.start]:#04x}"
        raise RowError("wrong_encoding", message) from None
    if '"' not in text:
        return text.split(",")
    return [
        field[2] if field[1] is None else field[1].replace('""', '"') for field in FIELDS.finditer(f",{text}")
    ]
