"""The storage contract. Writes are whole objects: a reader sees an object complete or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from raygen.errors import (
    AccessError,
    ConfigError,
    CorruptDataError,
    KeyNotFoundError,
    SourceError,
    StorageError,
    UnknownResultError,
)

BUFFER_BYTES = 2**20  # what `Store.open` reads at once


@dataclass(frozen=True)
class ObjectInfo:
    """What a store knows of an object without reading it."""

    key: str
    size_bytes: int
    modified_s: float  # seconds since the epoch, by the store's own clock
    version: str  # changes when the content does: an S3 ETag, or size and modification time of a local file


def check_key(key: str) -> str:
    """Return `key`. Raises ConfigError for one that could name something outside its store."""
    if (
        not key
        or key[0] == "/"
        or key[-1] == "/"
        or "\0" in key
        or not {".", ".."}.isdisjoint(key.split("/"))
    ):
        raise ConfigError(
            f"key {key!r}: a key is a relative path without `.` or `..` parts, such as data/a.parquet"
        )
    return key


def check_object(key: str) -> str:
    """Return the key of an object in a bucket that may be read: parts may be empty, as in `//a.parquet`, which S3 allows.

    Raises ConfigError.
    """
    check_key(key.lstrip("/"))
    return key


def pieces_of(file: BinaryIO, sha256: str) -> Iterator[bytes]:
    """Yield a file piece by piece. Raises CorruptDataError at its end when it is not what this digest says."""
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(BUFFER_BYTES):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != sha256:
        raise CorruptDataError("a temporary file is not what was written to it; is this disk sound?")


def changed_input(uri: str) -> SourceError:
    """Return the error for an input that changed after it was listed."""
    return SourceError(f"{uri} changed since it was listed; run again when it is complete")


class Store(ABC):
    """A prefix with objects under it. Keys are relative, with `/` between parts.

    Stores are safe to share between threads and to pickle. Every method raises ConfigError for a key that
    could leave the prefix, AccessError for a missing bucket or refused credentials, StorageError for a store
    that does not answer after retries, and CorruptDataError for an object that does not match the checksum
    which the store keeps of it.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"

    def uri_of(self, key: str) -> str:
        return f"{self.uri.rstrip('/')}/{key}" if key else self.uri

    @abstractmethod
    def child(self, prefix: str) -> Store:
        """Return the store of what is below `prefix` (a trailing `/` does not matter)."""

    @abstractmethod
    def parent(self) -> Store:
        """Return the store that this one is a child of: one part of the prefix less."""

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo:
        """Describe one object. Raises KeyNotFoundError."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in the order of their keys."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Return a whole object. Raises KeyNotFoundError."""

    @abstractmethod
    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Return bytes [start, stop), fewer at the end of the object. Raises KeyNotFoundError."""

    def get_many(self, keys: Iterable[str], threads: int = 32) -> Iterator[tuple[str, bytes]]:
        """Yield every key with its object, in the order of `keys`; reads at most 2 * `threads` objects ahead.

        Raises KeyNotFoundError when the turn of a missing key comes.
        """
        for key in keys:
            yield key, self.get(key)

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """Open for seekable, buffered reading without loading the object. Raises KeyNotFoundError.

        On S3, reading raises StorageError once the object has changed.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write or replace a whole object. Raises UnknownResultError when its fate is unknown."""

    @abstractmethod
    def put_file(self, key: str, file: BinaryIO, sha256: str) -> None:
        """Write or replace an object with all that an open local file holds, without loading it. What `put` raises.

        Args:
            sha256: of the file, as hex. Raises CorruptDataError when what is read is something else.
        """

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create an object; False if the key is taken (perhaps by this call, retried after a lost answer).

        Raises UnknownResultError when the write's fate is unknown (time-out, 409, 5xx): read, then retry.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def digest(self, info: ObjectInfo) -> str:
        """Return what pins a listed object's content. Raises SourceError if it changed since."""
        with self.open(info.key) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if self.stat(info.key).version != info.version:
            raise changed_input(self.uri_of(info.key))
        return f"sha256:{digest}"

    def leftovers(self) -> Iterator[ObjectInfo]:
        """Yield what killed processes left of probes and, where `list` does not show it, of half-done writes."""
        return self.list(".probe-")

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except KeyNotFoundError:
            return False
        return True

    def has_conditional_put(self) -> bool:
        """Probe: of two conditional writes of one key, is the second refused and the first one's data kept?

        Raises AccessError, and StorageError for a store that takes no write at all.
        """
        key = f".probe-{uuid.uuid4().hex}"
        try:
            for _ in range(3):
                try:
                    # The key is new: a refusal of the first write means that it was this very write, retried.
                    self.put_if_absent(key, b"first")
                    return not self.put_if_absent(key, b"second") and self.get(key) == b"first"
                except UnknownResultError:
                    continue
                except KeyNotFoundError:
                    raise
                except StorageError:
                    break  # refused as such, for instance 501 NotImplemented
            self.put(key, b"plain")
            return False
        finally:
            with contextlib.suppress(StorageError, AccessError):
                self.delete(key)
