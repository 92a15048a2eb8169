"""JSON Lines (plain, .gz, .zst): every line an object. Rows travel as the validated bytes of their line."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from raygen.data.paths import value_at
from raygen.data.sources.base import JSON
from raygen.data.sources.columns import infer_columns
from raygen.data.sources.exact import ExactTypes
from raygen.data.sources.keys import key_text
from raygen.data.sources.lines import Fault, Line, LineFile
from raygen.data.sources.records import Record, RecordReader
from raygen.errors import RowError, SourceError
from raygen.json_text import DEEPEST, depth, is_too_deep, read_json

_NOTHING = object()


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
            value = read_json(record)
        except json.JSONDecodeError as error:
            raise _why(record, error) from None
        if type(value) is not dict:
            raise RowError("not_an_object", f"a JSON {_kind(value)}; every line must be an object: {{...}}")
        if is_too_deep(record, value):
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

    def exact_types(self, names: Collection[str]) -> ExactTypes | None:
        return ExactTypes(names) if names else None

    def check_head(self, head: Sequence[bytes], uri: str) -> None:
        first = head[0]
        for begins, what, remedy in _FOREIGN:
            if first.startswith(begins):
                raise SourceError(f"{uri} is {what}, not JSON Lines in UTF-8: {remedy}")
        opened = _opened(head)
        if opened is not None:
            kind, program = ("array", "'.[]'") if opened == b"[" else ("object", ".")
            raise SourceError(
                f"{uri} is no JSON Lines: its first line begins a JSON {kind} of many rows or lines; every row has to "
                f"be an object on a line of its own: `jq -c {program} FILE > FILE.jsonl` makes such lines of it"
            )


_TO_UTF8 = "`iconv -f {} -t UTF-8 FILE > FILE.utf8.jsonl` converts it"
_FOREIGN = (
    (b"\xff\xfe\x00\x00", "UTF-32", _TO_UTF8.format("UTF-32")),
    ((b"\xff\xfe", b"\xfe\xff"), "UTF-16", _TO_UTF8.format("UTF-16")),
    ((b"{\x00", b"[\x00"), "UTF-16 (or UTF-32)", _TO_UTF8.format("UTF-16LE")),
    ((b"\x00{", b"\x00["), "UTF-16 (or UTF-32)", _TO_UTF8.format("UTF-16BE")),
    (b"\x1f\x8b", "compressed by gzip", "a name that ends in .gz says so"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "a name that ends in .zst says so"),
    (b"PAR1", "Parquet", "`source.format: parquet` reads it"),
)


def _opened(head: Sequence[bytes]) -> bytes | None:
    """Return the bracket that opens a document of several rows, if the first lines are one: `[` or `{`."""
    bracket = head[0].lstrip()[:1]
    if bracket not in (b"[", b"{"):
        return None
    for lines in range(1, len(head) + 1):
        text = b"\n".join(head[:lines])
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if error.pos < len(text.decode("utf-8", "replace")):
                return None  # it is broken, and not only unfinished
        else:
            if lines > 1 or (len(head) == 1 and type(value) is list and any(type(v) is dict for v in value)):
                return bracket
            return None
    return bracket if len(head) > 1 else None


def _why(record: bytes, error: json.JSONDecodeError) -> RowError:
    try:
        text = record.decode()
    except UnicodeDecodeError as wrong:
        return RowError(
            "wrong_encoding", f"not UTF-8: byte {wrong.start} of the line is {record[wrong.start]:#04x}"
        )
    # orjson's own line and column count within this one record: the column is what helps.
    place = f"at character {error.pos + 1}"
    found = _NO_NUMBER.match(text, max(0, error.pos - 1)) or _NO_NUMBER.match(text, error.pos)
    if found is not None:
        return RowError(
            "broken_json",
            f"{found[0]} at character {found.start() + 1}: no JSON, though Python writes it; write null, or leave the key out",
        )
    return RowError("broken_json", f"{error.msg}, {place}")


_NO_NUMBER = re.compile(r"(?<![\w-])-?(?:NaN|Infinity)\b")


def _kind(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
