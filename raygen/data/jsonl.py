"""JSON Lines (plain, .gz, .zst): every line an object. Rows travel as the validated bytes of their line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from raygen.data.base import JSON
from raygen.data.columns import depth, infer_columns
from raygen.data.keys import key_text
from raygen.data.lines import Fault, Line, LineFile
from raygen.data.paths import value_at
from raygen.data.records import Record, RecordReader
from raygen.errors import RowError

_NOTHING = object()
DEEPEST = 200  # Python code that walks a value, such as a template's, ends at 1,000 levels


class JsonLinesReader(RecordReader):
    """Blank lines are no rows. A line that is not JSON as RFC 8259 has it, or no object, is a broken row."""

    def begin(self, file: LineFile, name: str) -> int:
        return 0

    def records(self, lines: Iterator[tuple[int, Line]], start: int) -> Iterator[Record]:
        for stop, line in lines:
            if isinstance(line, Fault) or (line and not line.isspace()):
                yield start, stop, line
            start = stop

    def parse(self, record: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(record)
        except orjson.JSONDecodeError as error:
            raise _why(record, error) from None
        if type(value) is not dict:
            raise RowError("not_an_object", f"a JSON {_kind(value)}; every line must be an object: {{...}}")
        if record.count(b"[") + record.count(b"{") > DEEPEST and depth(value) > DEEPEST:
            raise RowError("broken_json", f"nested {depth(value)} levels deep; at most {DEEPEST} are allowed")
        return value

    def key_of(self, value: Any, where: str) -> str:
        key = self.source.key or ""
        found = value_at(value, key, _NOTHING)
        if found is _NOTHING:
            raise RowError("missing_key", f"the object has no key {key!r}")
        return key_text(found, key, where)

    def keep(self, record: bytes, value: Any) -> bytes:
        return record

    def lay_out(
        self, kept: list[Any], columns: Sequence[str] | None, folders: Mapping[str, str | None]
    ) -> dict[str, pa.Array]:
        given = {name: folders[name] for name in columns or () if name in folders}
        constant = {name: pa.array([value] * len(kept), pa.string()) for name, value in given.items()}
        return {JSON: pa.array(kept, pa.large_binary()), **constant}

    def columns_of(self, sample: list[Any]) -> tuple[dict[str, pa.DataType], bool]:
        return infer_columns(sample), True


def _why(record: bytes, error: orjson.JSONDecodeError) -> RowError:
    try:
        record.decode()
    except UnicodeDecodeError as wrong:
        return RowError(
            "wrong_encoding", f"not UTF-8: byte {wrong.start} of the line is {record[wrong.start]:#04x}"
        )
    # orjson's own line and column count within this one record: the column is what helps.
    return RowError("broken_json", f"{error.msg}, at character {error.pos + 1}")


def _kind(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
