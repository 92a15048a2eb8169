"""MemoryStore: a twin of the stores, in memory, with a clock of its own. Held to their contract by a test."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from raygen.errors import KeyNotFoundError
from raygen.storage.base import ObjectInfo, Store, check_key, pieces_of


class MemoryStore(Store):
    """Objects in a dict, which stores of prefixes below share: key from the top -> (data, modified_s)."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__("memory://store")
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.prefix = ""
        self.clock = clock

    def child(self, prefix: str) -> MemoryStore:
        store = MemoryStore(self.clock)
        store.uri = self.uri_of(check_key(prefix.rstrip("/")))
        store.objects, store.prefix = self.objects, f"{self.prefix}{prefix.rstrip('/')}/"
        return store

    def parent(self) -> MemoryStore:
        store = MemoryStore(self.clock)
        store.uri = self.uri.rpartition("/")[0]
        store.objects = self.objects
        above = self.prefix.rstrip("/").rpartition("/")[0]
        store.prefix = f"{above}/" if above else ""
        return store

    def _find(self, key: str) -> tuple[bytes, float]:
        try:
            return self.objects[self.prefix + check_key(key)]
        except KeyError:
            raise KeyNotFoundError(f"{self.uri_of(key)}: no such object") from None

    def stat(self, key: str) -> ObjectInfo:
        data, modified_s = self._find(key)
        return ObjectInfo(key, len(data), modified_s, hashlib.sha256(data).hexdigest())

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if prefix:
            check_key(prefix + "x")
        for key in sorted(self.objects.copy()):
            if key.startswith(self.prefix + prefix) and key in self.objects:
                yield self.stat(key.removeprefix(self.prefix))

    def get(self, key: str) -> bytes:
        return self._find(key)[0]

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self.get(key)[start:stop]

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def put(self, key: str, data: bytes) -> None:
        self.objects[self.prefix + check_key(key)] = (data, self.clock())

    def put_file(self, key: str, file: BinaryIO, sha256: str) -> None:
        self.put(key, b"".join(pieces_of(file, sha256)))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        mine = (data, self.clock())
        return self.objects.setdefault(self.prefix + check_key(key), mine) is mine

    def delete(self, key: str) -> None:
        self.objects.pop(self.prefix + check_key(key), None)
