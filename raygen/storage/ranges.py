"""RangeReader: a stream made of range requests."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


class RangeReader(io.RawIOBase):
    """An object of known size as a seekable stream; each read is one call of `read_range(start, stop)`."""

    def __init__(self, read_range: Callable[[int, int], bytes], size_bytes: int) -> None:
        self.read_range = read_range
        self.size_bytes = size_bytes
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to byte {base + offset}")
        self.position = base + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._take(self.size_bytes)  # the base class would ask for 8 kB at a time

    def _take(self, count: int) -> bytes:
        stop = min(self.position + count, self.size_bytes)
        if stop <= self.position:
            return b""
        data = self.read_range(self.position, stop)
        self.position = stop
        return data
