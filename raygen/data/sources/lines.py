"""Lines: one input as lines with positions, in bounded memory; from anywhere, or through a decompressor."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa

from raygen.storage import LocalStore, Store

BLOCK_BYTES = 2**18
COMPRESSED = (".gz", ".zst")
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Fault:
    """Stands for a line, or a record, that cannot be given out as bytes."""

    code: str
    message: str


Line = bytes | Fault


def is_compressed(name: str) -> bool:
    """Return whether a file is compressed, by its name."""
    return name.lower().endswith(COMPRESSED)


class LineFile:
    """An open input. Positions are byte offsets, or line numbers from 0 if it is compressed (.gz, .zst).

    Args:
        hashing: take the digest of a local file while it is read from its start: it is then read only once.
    """

    def __init__(self, store: Store, key: str, max_line_bytes: int, *, hashing: bool = False) -> None:
        self.compressed = is_compressed(key)
        self.max_line_bytes = max_line_bytes
        self._key = key
        self._raw = store.open(key)
        self._hash = hashlib.sha256() if hashing and isinstance(store, LocalStore) else None
        self._hashed_bytes = 0
        self._lines: Iterator[Line] | None = None  # of a compressed input, behind `_line` lines
        self._line = 0

    def __enter__(self) -> LineFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._raw.close()

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Line]]:
        """Yield the lines of [start, stop), each with the position behind it, without its line end.

        A line over the limit comes as a Fault `line_too_long` and is never held whole; data that cannot be
        decompressed, as a last line, a Fault `corrupt_archive`. A byte order mark at the start is dropped.
        """
        if self.compressed:
            return self._compressed_lines(start, stop)
        self._raw.seek(start)
        left = None if stop is None else stop - start
        return self._scan(_reader_of(self._hashed(self._raw.read), left), start)

    def digest(self) -> str | None:
        """Return the digest of the whole file, reading what is left of it; None if it was not asked for."""
        if self._hash is None:
            return None
        self._raw.seek(self._hashed_bytes)
        while block := self._raw.read(BLOCK_BYTES):
            self._hash.update(block)
        return f"sha256:{self._hash.hexdigest()}"

    def _hashed(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        digest = self._hash
        if digest is None:
            return read

        def read_and_hash(size_bytes: int) -> bytes:
            position = self._raw.tell()
            block = read(size_bytes)
            new = block[max(0, self._hashed_bytes - position) :]  # a header is read twice
            digest.update(new)
            self._hashed_bytes += len(new)
            return block

        return read_and_hash

    def _compressed_lines(self, start: int, stop: int | None) -> Iterator[tuple[int, Line]]:
        if self._lines is None or start < self._line:
            self._raw.seek(0)
            read = decompressor(_Raw(self._hashed(self._raw.read)), self._key)
            self._lines = (line for _, line in self._scan(read, 0))
            self._line = 0
        while stop is None or self._line < stop:
            line = next(self._lines, None)
            if line is None:
                return
            self._line += 1
            if self._line > start:
                yield self._line, line

    def _scan(self, read: Callable[[], bytes], position: int) -> Iterator[tuple[int, Line]]:
        limit = self.max_line_bytes
        parts: list[bytes] = []  # the beginning of a line that goes on in the next block
        held = 0  # its length; its bytes are let go once it is over the limit
        first = position == 0
        fault = None
        while True:
            try:
                block = read()
            except (OSError, EOFError, zlib.error) as error:
                if not self.compressed or getattr(error, "errno", None) is not None:
                    raise  # the disk's error, not the data's
                fault = Fault("corrupt_archive", f"cannot be decompressed from here on: {error}")
                break
            if not block:
                break
            lines = block.split(b"\n")
            rest = lines.pop()
            if lines:
                lines[0] = b"".join((*parts, lines[0])) if held <= limit else lines[0]
                extra = held if held > limit else 0
                parts, held = [], 0
                for line in lines:
                    size = len(line) + extra
                    extra = 0
                    position += size + 1
                    if first:
                        line, first = line.removeprefix(BOM), False
                    yield position, line if size <= limit else _too_long(size, limit)
            held += len(rest)
            if held <= limit:
                parts.append(rest)
            else:
                parts = []
        if held:
            last = b"".join(parts)
            yield (
                position + held,
                (last.removeprefix(BOM) if first else last) if held <= limit else _too_long(held, limit),
            )
        if fault is not None:
            yield position + held, fault


def _too_long(size_bytes: int, limit: int) -> Fault:
    return Fault(
        "line_too_long", f"{size_bytes:,} bytes; at most {limit:,} are allowed: raise source.max_line_bytes"
    )


def _reader_of(read: Callable[[int], bytes], left: int | None) -> Callable[[], bytes]:
    """Return a function that reads block after block, at most `left` bytes in all."""

    def read_block() -> bytes:
        nonlocal left
        if left is None:
            return read(BLOCK_BYTES)
        block = read(min(BLOCK_BYTES, left))
        left -= len(block)
        return block

    return read_block


def decompressor(raw: BinaryIO | io.RawIOBase, name: str) -> Callable[[], bytes]:
    """Return a function that reads block after block of what was compressed, through all members or frames.

    It raises OSError, EOFError or zlib.error where the data is broken.
    """
    if name.lower().endswith(".gz"):
        unzipped = gzip.GzipFile(fileobj=raw, mode="rb")
        return lambda: unzipped.read1(BLOCK_BYTES)
    # An error takes the block that it is in along: a smaller block loses fewer good lines before it.
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    return lambda: bytes(stream.read(BLOCK_BYTES // 4))


class _Raw(io.RawIOBase):
    """A read function as a file object; it leaves closing to its owner."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        return self._read(size)
