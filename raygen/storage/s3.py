"""S3Store: a bucket, or a prefix in one. The rules of boto3 for environment, profiles and roles apply."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import os
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import FlexibleChecksumError

from raygen.config.source import StorageOptions
from raygen.errors import AccessError, ConfigError, CorruptDataError, KeyNotFoundError, StorageError
from raygen.storage.base import (
    BUFFER_BYTES,
    ObjectInfo,
    Store,
    changed_input,
    check_key,
    check_object,
    pieces_of,
)
from raygen.storage.ranges import RangeReader
from raygen.storage.s3_errors import (
    BROKEN_BODY_ERRORS,
    S3_ERRORS,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    explain,
    no_bucket,
)

REQUEST_ATTEMPTS = 6  # boto3's own, until an answer has begun
BODY_ATTEMPTS = 5  # ours, for an answer whose body breaks off or does not match its checksum
CONNECTIONS = 64
MOST_CLIENTS = 16  # each holds some MB; a process needs one or two, unless its environment keeps changing

_clients: dict[Any, Any] = {}
_clients_lock = threading.Lock()


def shared_client(options: StorageOptions) -> Any:
    """Return the client for these options, made on first use: that takes 0.1 s. Threads may share it."""
    # It belongs to the process and environment it was made in: a forked child must not use its sockets.
    environment = frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))
    key = (os.getpid(), options, environment)
    with _clients_lock:
        if key not in _clients:
            if len(_clients) == MOST_CLIENTS:
                del _clients[next(iter(_clients))]
            config = Config(
                retries={"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=CONNECTIONS,
            )
            session = new_session(options)
            _clients[key] = session.client("s3", endpoint_url=options.endpoint_url, config=config)
        return _clients[key]


def new_session(options: StorageOptions) -> Any:
    """Return a boto3 session with the credentials that the options name."""
    return boto3.session.Session(profile_name=options.profile, region_name=options.region)


class S3Store(Store):
    """A bucket, or a prefix in one. Connects on first use.

    Args:
        uri: `s3://bucket/prefix`; every character stands for itself.
        options: endpoint, region and profile; what is None follows boto3's environment and files.

    Raises:
        ConfigError: the URI names no bucket.
    """

    def __init__(self, uri: str, options: StorageOptions | None = None) -> None:
        self.bucket, _, prefix = uri.partition("://")[2].partition("/")
        if not self.bucket:
            raise ConfigError(f"{uri}: names no bucket; write s3://bucket/prefix")
        self.prefix = f"{check_object(prefix.rstrip('/'))}/" if prefix.rstrip("/") else ""
        super().__init__(f"s3://{self.bucket}/{self.prefix}")
        self.options = options or StorageOptions()
        self._bucket_seen = False

    @property
    def client(self) -> Any:
        """The boto3 client of this store. Stores with the same options share one, and its connections."""
        try:
            return shared_client(self.options)
        except S3_ERRORS as error:
            raise self._explained(error, "reach", "") from error
        except ValueError as error:  # what botocore raises for an endpoint that is no URL
            raise ConfigError(f"storage for {self.uri}: {error}; write it as in https://host:9000") from error

    @property
    def endpoint(self) -> str:
        """Where requests go, for messages."""
        named = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
        return self.options.endpoint_url or next(filter(None, named), "AWS")

    def _call(
        self, operation: str, action: str, key: str, /, *, writes: bool = False, **arguments: Any
    ) -> Any:
        client = self.client
        try:
            answer = getattr(client, operation)(Bucket=self.bucket, **arguments)
        except S3_ERRORS as error:
            raise self._explained(error, action, key, writes) from error
        self._bucket_seen = True
        return answer

    def _explained(self, error: Exception, action: str, key: str, writes: bool = False) -> Exception:
        return explain(error, action, self.uri_of(key), self.bucket, self.endpoint, writes)

    def child(self, prefix: str) -> S3Store:
        return S3Store(self.uri_of(check_key(prefix.rstrip("/"))), self.options)

    def parent(self) -> S3Store:
        return S3Store(self.uri.rpartition("/")[0], self.options)

    def credentials(self) -> Any:
        """Return access key, secret key and token as of now (a role's expire); None for anonymous access.

        Raises AccessError: they cannot be had.
        """
        try:
            found = new_session(self.options).get_credentials()
            return found and found.get_frozen_credentials()
        except S3_ERRORS as error:
            raise self._explained(error, "reach", "") from error

    def _head(self, key: str) -> Any:
        try:
            return self._call("head_object", "read", key, Key=self.prefix + check_object(key))
        except KeyNotFoundError:
            # An answer to HEAD has no body, so a missing bucket looks like a missing object: ask, once.
            if not self._bucket_seen:
                self._check_bucket()
            raise

    def _check_bucket(self) -> None:
        try:
            self._call("head_bucket", "reach", "")
        except KeyNotFoundError as error:
            raise no_bucket(self.uri, self.bucket, self.endpoint) from error
        except AccessError:
            self._bucket_seen = True  # one may be allowed to read objects, and not to ask for the bucket

    def stat(self, key: str) -> ObjectInfo:
        head = self._head(key)
        modified_s = head["LastModified"].timestamp()
        return ObjectInfo(key, head["ContentLength"], modified_s, head["ETag"].strip('"'))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if prefix:
            check_object(prefix + "x")
        paginator = self.client.get_paginator("list_objects_v2")
        try:
            for page in paginator.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    if key and key[-1] != "/":  # consoles mark a folder with an empty object of such a name
                        modified_s = found["LastModified"].timestamp()
                        yield ObjectInfo(key, found["Size"], modified_s, found["ETag"].strip('"'))
        except S3_ERRORS as error:
            raise self._explained(error, "list", prefix) from error

    def get(self, key: str) -> bytes:
        return self._download(key)

    def get_range(self, key: str, start: int, stop: int, etag: str | None = None) -> bytes:
        """Return bytes [start, stop), fewer at the end. With `etag`: StorageError if the object changed."""
        if stop <= start:
            self._head(key)
            return b""
        try:
            return self._download(key, start, stop, etag)
        except RangeNotSatisfiableError:
            return b""

    def _download(self, key: str, start: int = 0, stop: int | None = None, etag: str | None = None) -> bytes:
        """Read an object or a range in full: a body that breaks off is read again, never returned short."""
        arguments: dict[str, Any] = {"Key": self.prefix + check_object(key)}
        if etag is not None:
            arguments["IfMatch"] = f'"{etag}"'
        if stop is not None:
            arguments["Range"] = f"bytes={start}-{stop - 1}"
        problem: Exception | None = None
        for attempt in range(BODY_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, 0.05 * 2**attempt))
            answer = self._call("get_object", "read", key, **arguments)
            try:
                with contextlib.closing(answer["Body"]) as body:
                    data: bytes = body.read()
            except BROKEN_BODY_ERRORS as error:
                problem = error
                continue
            problem = None
            complete = len(data) == answer.get("ContentLength")
            if stop is not None and "ContentRange" in answer:
                size = int(answer["ContentRange"].rpartition("/")[2])
                complete = complete and len(data) == min(stop, size) - start
            elif stop is not None:  # the store does not know ranges: it sent all
                data = data[start:stop]
            if complete:
                return data
        if isinstance(problem, FlexibleChecksumError):
            raise CorruptDataError(
                f"{self.uri_of(key)} does not match its checksum, in {BODY_ATTEMPTS} reads"
            )
        raise StorageError(f"cannot read {self.uri_of(key)}: it broke off {BODY_ATTEMPTS} times") from problem

    def get_many(self, keys: Iterable[str], threads: int = 32) -> Iterator[tuple[str, bytes]]:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="s3-get")
        waiting: deque[tuple[str, Future[bytes]]] = deque()
        try:
            for key in keys:
                waiting.append((key, pool.submit(self.get, key)))
                if len(waiting) == 2 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:  # popped, so that what was yielded is not held
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def open(self, key: str) -> BinaryIO:
        info = self.stat(key)
        read_range = functools.partial(self.get_range, key, etag=info.version)
        return io.BufferedReader(RangeReader(read_range, info.size_bytes), BUFFER_BYTES)

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data, hashlib.sha256(data).digest())

    def put_file(self, key: str, file: BinaryIO, sha256: str) -> None:
        for _ in pieces_of(file, sha256):  # not every store compares what it gets with the digest
            pass
        file.seek(0)
        self._put(key, file, bytes.fromhex(sha256))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        try:
            self._put(key, data, hashlib.sha256(data).digest(), IfNoneMatch="*")
        except PreconditionFailedError:
            return False
        return True

    def _put(self, key: str, body: bytes | BinaryIO, sha256: bytes, **condition: str) -> None:
        condition |= {
            "Key": self.prefix + check_key(key),
            "ChecksumSHA256": base64.b64encode(sha256).decode(),
        }
        self._call("put_object", "write", key, writes=True, Body=body, **condition)

    def delete(self, key: str) -> None:
        with contextlib.suppress(KeyNotFoundError):
            self._call("delete_object", "remove", key, Key=self.prefix + check_key(key))

    def digest(self, info: ObjectInfo) -> str:
        head = self._head(info.key)
        if head["ETag"].strip('"') != info.version:
            raise changed_input(self.uri_of(info.key))
        version = head.get("VersionId", "null")  # "null": written while the bucket kept no versions
        return f"etag:{info.version}" + ("" if version == "null" else f"@{version}")
