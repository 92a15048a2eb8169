"""CSV as RFC 4180 has it: a header, commas (or another sign), quotes around fields that hold them, quotes or line breaks."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from raygen.config.source import Source
from raygen.data.paths import carriers
from raygen.data.sources.base import RESERVED
from raygen.data.sources.keys import key_text
from raygen.data.sources.lines import Fault, Line, LineFile
from raygen.data.sources.records import Record, RecordReader
from raygen.errors import RowError, SourceError

_SIGNS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


class _Dialect:
    """What stands between fields, and patterns that tell of one line whether a record ends there.

    Their repeats are possessive: no backtracking.
    """

    def __init__(self, delimiter: str, escape: str | None) -> None:
        self.delimiter = delimiter
        self.sign = delimiter.encode()
        sign = re.escape(self.sign)
        inside = rb'(?:[^"]++|"")*+'
        self._unquoted = re.compile('(")"')
        if escape is not None:  # in a quoted field, before any character; also before a line break
            before = re.escape(escape)
            inside = rf'(?:[^"{before}]++|""|{before}(?s:.)|{before}\Z)*+'.encode()
            self._unquoted = re.compile(rf'(?:"|{before})((?<=")"|(?<={before})(?s:.))')
        field = rb'(?:"' + inside + rb'"(?=' + sign + rb'|\Z)|(?!")[^' + sign + rb"]*+)"
        more = rb"(?:" + sign + field + rb")*+"
        self.complete = re.compile(field + more)
        self.opens = re.compile(rb"(?:" + field + sign + rb')*+"' + inside)
        self.closes = re.compile(inside + rb'"' + more)
        self.stays_open = re.compile(inside + rb'(?:"' + more + sign + rb'"' + inside + rb")?+")
        self._fields = re.compile(f'{sign.decode()}(?:"({inside.decode()})"|([^{sign.decode()}]*+))')

    def fields(self, record: bytes) -> list[str]:
        """Cut a record. Raises RowError: it is not UTF-8."""
        try:
            text = record.decode()
        except UnicodeDecodeError as wrong:
            message = f"not UTF-8: byte {wrong.start} of the row is {record[wrong.start]:#04x}"
            raise RowError("wrong_encoding", message) from None
        if '"' not in text:
            return text.split(self.delimiter)
        return [
            field[2] if field[1] is None else self._unquoted.sub(r"\1", field[1])
            for field in self._fields.finditer(f"{self.delimiter}{text}")
        ]


class CsvReader(RecordReader):
    """Columns are strings. Quoted line breaks belong to their row; blank lines are no rows.

    A quote that is never closed, or is followed by anything but a delimiter, costs its own line and no other:
    reading goes on with the next line. A quoted field may be as long as `source.max_line_bytes`.
    Files may differ in the columns that nobody uses, and in their order.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._given = source.csv.header if source.csv is not None else None
        self._dialect = _Dialect(*((source.csv.delimiter, source.csv.escape) if source.csv else (",", None)))
        self.header_lines = 1 if self._given is None else 0
        self._header: list[str] = []  # of the file at hand
        self._key_at = -1
        self._columns: dict[str, str] = {}  # of all files so far -> the first file that has it
        self._first: tuple[str, list[str]] | None = None

    def begin(self, file: LineFile, name: str) -> int:
        if self._given is not None:
            self._take_header(list(self._given), name)
            return 0
        for _, stop, record in self.records(file.lines(), 0):
            try:
                if isinstance(record, Fault):
                    raise RowError(record.code, record.message)
                header = self._dialect.fields(record)
            except RowError as error:
                raise SourceError(f"{name}: the header cannot be read: {error.message}") from None
            if self.planning and b"\r" in record and b'"' not in record:
                raise SourceError(
                    f"{name}: its lines end in a carriage return alone (CR); write them with LF or CR LF, "
                    "for instance: tr '\\r' '\\n' < old.csv > new.csv"
                )
            self._take_header(header, name)
            return stop
        raise SourceError(f"{name}: empty; the first line must name the columns")

    def _take_header(self, header: list[str], name: str) -> None:
        header = [column or f"unnamed_{i}" for i, column in enumerate(header)]  # an index that pandas wrote
        repeated = {column for column in header if header.count(column) > 1} | (RESERVED & set(header))
        if self.used is not None:
            repeated &= {*carriers(self.used, header), self.source.key}
        if repeated and self.planning:
            raise SourceError(
                f"{name}: column names are taken or occur twice: {', '.join(sorted(repeated))}; rename them"
            )
        key = self.source.key
        hint = self._hint(header)
        if key is not None and key not in header:
            raise SourceError(f"{name}: source.key: no column {key!r}; columns: {', '.join(header)}{hint}")
        if hint and self.planning and (missing := set(carriers(self.used or (), header)) - set(header)):
            raise SourceError(f"{name}: no column {min(missing)!r}; columns: {header[0]}{hint}")
        self._header = header
        self._key_at = header.index(key) if key is not None else -1
        if self._first is None:
            self._first = (name, header)
        elif self.planning and header != self._first[1]:
            self._compare(header, name)
        for column in header:
            self._columns.setdefault(column, name)

    def _compare(self, header: list[str], name: str) -> None:
        """Refuse a file that lacks a used column which another has, or has one that they lack. Raises SourceError."""
        assert self._first is not None
        new, missing = set(header) - set(self._columns), set(self._columns) - set(header)
        if self.used is not None:
            used = {*carriers(self.used, header), *carriers(self.used, self._columns)}
            new, missing = new & used, missing & used
            if not new and not missing:
                return
        lacks = f"it lacks {', '.join(sorted(missing))}" if missing else f"they lack {', '.join(sorted(new))}"
        raise SourceError(
            f"{name}: its columns ({', '.join(header)}) differ from those of {self._first[0]} "
            f"({', '.join(self._first[1])}){f': {lacks}' if new or missing else ''}; "
            "all files of a source have the columns that are used"
        )

    def _hint(self, header: list[str]) -> str:
        signs = [sign for sign in (";", "\t", "|", ",") if len(header) == 1 and sign in header[0]]
        if signs:
            return f"; is {signs[0]!r} between them? Then say so: source.csv.delimiter"
        data = any(re.fullmatch(r"\s*-?[0-9][0-9.]*\s*", name) for name in header)
        return "; is this a row? Then name the columns: source.csv.header" if data else ""

    def records(self, lines: Iterator[tuple[int, Line]], start: int) -> Iterator[Record]:
        dialect = self._dialect
        sign = _SIGNS.get(dialect.delimiter, repr(dialect.delimiter))
        given_back: deque[tuple[int, Line]] = deque()
        while (found := given_back.popleft() if given_back else next(lines, None)) is not None:
            stop, line = found
            if isinstance(line, Fault):
                yield start, stop, line
            elif b'"' not in line or dialect.complete.fullmatch(line.removesuffix(b"\r")):
                if line and not (line.isspace() and dialect.sign not in line):
                    yield start, stop, line.removesuffix(b"\r")
            elif dialect.opens.fullmatch(line):
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
                    Fault("broken_csv", f"a closing quote is not followed by {sign}: a stray quote?"),
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
            if self._dialect.closes.fullmatch(line.removesuffix(b"\r")):
                return stop
            if not self._dialect.stays_open.fullmatch(line):
                return None
        return None

    def parse(self, record: bytes) -> list[str]:
        fields = self._dialect.fields(record)
        if len(fields) != len(self._header):
            raise RowError("broken_csv", f"{len(fields)} fields; the header has {len(self._header)}")
        return fields

    def key_of(self, value: Any, where: str) -> str:
        return key_text(value[self._key_at], self._header[self._key_at], where)

    def keep(self, record: bytes, value: Any) -> list[str]:
        fields: list[str] = value
        return fields

    def lay_out(
        self, kept: list[Any], columns: Sequence[str] | None, folders: Mapping[str, str | None]
    ) -> dict[str, pa.Array]:
        nulls = [None] * len(self._header)
        values: dict[str, Sequence[str | None]] = {
            name: [None if row is None else value for row in kept] for name, value in folders.items()
        }
        values |= zip(self._header, zip(*(row or nulls for row in kept), strict=True), strict=True)
        wanted = self._header if columns is None else carriers(columns, self._header)
        return {name: pa.array(values.get(name, [None] * len(kept)), pa.string()) for name in wanted}

    def columns_of(self, sample: list[Any]) -> tuple[dict[str, pa.DataType], bool]:
        return dict.fromkeys(self._columns, pa.string()), False
