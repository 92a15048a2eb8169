"""Local paths and S3 behind one small interface. The only importer of boto3.

A `Store` is a prefix (a directory, or `s3://bucket/prefix`) under which objects live by key. Writes are whole
objects: nothing is ever streamed to its final name, so a reader sees an object complete or not at all.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlparse

from raygen.errors import AccessError, ConfigError, KeyNotFoundError, StorageError


@dataclass(frozen=True)
class ObjectInfo:
    """What a store knows of an object without reading it."""

    key: str
    size_bytes: int
    modified_s: float  # seconds since the epoch, by the store's own clock
    version: str  # changes when the content does: an S3 ETag, or size and modification time of a local file


class Store(ABC):
    """A prefix with objects under it. Keys are relative, with `/` between parts.

    Every method raises AccessError for a missing bucket or refused credentials and StorageError for a store that
    does not answer after retries.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"

    def uri_of(self, key: str) -> str:
        return f"{self.uri}/{key}" if key else self.uri

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

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """Open for seekable, buffered reading without loading the object. Raises KeyNotFoundError."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write or replace a whole object. Raises UnknownResultError when its fate is unknown."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create an object; False if the key is taken (perhaps by this very call, retried after a lost answer).

        Raises UnknownResultError when the fate of the write is unknown (time-out, 409, 5xx): read, then retry.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except KeyNotFoundError:
            return False
        return True

    def has_conditional_put(self) -> bool:
        """Probe: of two conditional writes of one key, is the second refused and the first one's data kept?"""
        key = f".probe/{uuid.uuid4().hex}"
        try:
            first = self.put_if_absent(key, b"first")
            second = self.put_if_absent(key, b"second")
            return first and not second and self.get(key) == b"first"
        except (AccessError, KeyNotFoundError):
            raise
        except StorageError:
            return False
        finally:
            with contextlib.suppress(StorageError):
                self.delete(key)
