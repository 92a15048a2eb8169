"""URIs: from what a user writes to a store, to one object in it, or to all the objects it names."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import unquote

from raygen.config.source import StorageOptions
from raygen.errors import ConfigError, KeyNotFoundError, SourceError
from raygen.storage.base import ObjectInfo, Store, check_key, check_object
from raygen.storage.local import LocalStore

WILDCARD = re.compile(r"[*?\[]")


def _local_path(uri: str) -> str | None:
    """Return the path that a path or file:// URI names, None for s3://; else ConfigError."""
    scheme, separator, rest = uri.partition("://")
    if not uri or "\0" in uri:
        raise ConfigError(f"{uri!r}: name a path, file:///path or s3://bucket/key")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return uri
    if scheme.lower() == "s3":
        return None
    if scheme.lower() != "file":
        raise ConfigError(f"{uri}: unknown scheme {scheme!r}; allowed: a path, file:///path, s3://bucket/key")
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigError(f"{uri}: a file URI has three slashes and names an absolute path: file:///path")
    return "/" + unquote(path)


def open_store(uri: str, options: StorageOptions | None = None) -> Store:
    """Return the store of a path, file:///path or s3://bucket/prefix. Touches neither disk nor network.

    Raises ConfigError for any other scheme. In an s3:// URI every character stands for itself, `%` too.
    """
    path = _local_path(uri)
    if path is not None:
        return LocalStore(path)
    from raygen.storage.s3 import S3Store

    return S3Store(uri, options)


def split_uri(uri: str, options: StorageOptions | None = None) -> tuple[Store, str]:
    """Return a store and the key of one object in it: parent directory and name, or bucket and key.

    Raises ConfigError for an unknown scheme, and for a URI that names no object (a bucket, `/`).
    """
    path = _local_path(uri)
    if path is not None:
        folder, key = os.path.split(os.path.abspath(os.path.expanduser(path)))
        store: Store = LocalStore(folder)
    else:
        bucket, _, key = uri.partition("://")[2].partition("/")
        store = open_store(f"s3://{bucket}", options)
    try:
        return store, check_key(key) if path is not None else check_object(key)
    except ConfigError as error:
        raise ConfigError(f"{uri}: names no object; write a path, or s3://bucket/key") from error


def find_inputs(uri: str, options: StorageOptions | None = None) -> list[tuple[Store, ObjectInfo]]:
    """Return what a URI names, sorted by key: one object, what a glob matches, or all that is below a folder.

    In a glob, `*`, `?`, `[abc]` and `[!abc]` match within one part of a key, never its leading `.`; a part
    `**` matches any folders (at the end: any objects below). Folders and `**` leave out names that start with
    `.` or `_`. An object whose name holds such characters is found by its exact name. Symbolic links are not
    followed out of the folder that is listed.

    Raises:
        SourceError: nothing matches.
        ConfigError: an unknown scheme, a wildcard in a bucket's name.
        AccessError, StorageError: as every method of a store.
    """
    path = _local_path(uri)
    whole = uri if path is None else os.path.expanduser(path)
    root = "/".join(whole.split("/", 3)[:3]) if path is None else "/"  # s3://bucket, or the root directory
    literal = WILDCARD.split(whole, maxsplit=1)[0]
    if path is None and len(literal) < len(root):
        raise ConfigError(f"{uri}: a bucket's name takes no wildcard")
    if not whole.endswith("/") and whole != root:
        store, key = split_uri(whole, options)
        with contextlib.suppress(KeyNotFoundError):
            return [(store, store.stat(key))]
    if literal == whole:
        store, prefix, pattern = open_store(whole, options), "", ["**"]
        hint = "no such object, and none below it (names that start with `.` or `_` are left out)"
    else:
        folder, _, prefix = literal.rpartition("/")
        if path is None:  # in a bucket, `a//b` is not `a/b`: the part between is empty
            prefix = "/" * (len(folder) - len(folder.rstrip("/"))) + prefix
        pattern = whole[len(literal) - len(prefix) :].split("/")
        store = open_store(folder or ("/" if literal.startswith("/") else "."), options)
        hint = "no object matches (`*` and `?` stay within one folder, `**` crosses folders)"
    if isinstance(store, LocalStore):
        # `./*.jsonl` in a home directory must not walk all of it, nor meet folders that one may not read.
        found = store.walk(prefix, lambda folder: _may_hold(folder.split("/"), pattern))
    else:
        found = store.list(prefix)
    infos = [info for info in found if _matches(info.key.split("/"), pattern)]
    if not infos:
        raise SourceError(f"{uri}: {hint}")
    return [(store, info) for info in sorted(infos, key=lambda info: info.key)]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        if len(pattern) > 1 and _matches(parts, pattern[1:]):
            return True
        if parts[0].startswith((".", "_")):
            return False
        return (len(pattern) == 1 and len(parts) == 1) or _matches(parts[1:], pattern)
    return _fits(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _may_hold(folder: Sequence[str], pattern: Sequence[str]) -> bool:
    """Could something below `folder` match?"""
    for number, part in enumerate(folder):
        is_last = number + 1 == len(pattern)
        if pattern[number] == "**":
            return not (is_last and any(name.startswith((".", "_")) for name in folder[number:]))
        if is_last or not _fits(part, pattern[number]):
            return False
    return True


def _fits(part: str, pattern: str) -> bool:
    return (pattern.startswith(".") or not part.startswith(".")) and fnmatchcase(part, pattern)


def digest_input(store: Store, info: ObjectInfo) -> str:
    """Return what pins an input's content: `sha256:<hex>` of a local file, `etag:<etag>[@<version>]` on S3.

    Raises SourceError when the input changed since `info` was taken.
    """
    return store.digest(info)
