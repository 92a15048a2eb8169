"""Arrow: the pyarrow filesystem that reaches what a store holds, for lazy datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from raygen.storage.base import Store
from raygen.storage.local import LocalStore


def arrow_filesystem(store: Store) -> tuple[Any, Callable[[str], str]]:
    """Return a pyarrow filesystem and what turns a key of `store` into a path on it.

    For reading only: a pyarrow output stream that is left by an exception publishes a truncated object. On S3
    it uses the store's credentials as of now; those of a role expire, typically after an hour or more.

    Raises:
        AccessError: no usable credentials.
    """
    from pyarrow import fs  # takes 0.1 s to import, and most users of storage need none

    if isinstance(store, LocalStore):
        return fs.LocalFileSystem(), lambda key: str(store.path_of(key))
    from raygen.storage.s3 import S3Store

    if not isinstance(store, S3Store):
        raise TypeError(f"no pyarrow filesystem for a {type(store).__name__}")
    meta, credentials = store.client.meta, store.credentials()
    endpoint = urlsplit(meta.endpoint_url)
    settings: dict[str, Any] = {"region": None if meta.region_name == "aws-global" else meta.region_name}
    if not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        settings |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    if credentials is None:
        settings["anonymous"] = True
    else:
        settings |= {
            "access_key": credentials.access_key,
            "secret_key": credentials.secret_key,
            "session_token": credentials.token,
        }
    return fs.S3FileSystem(**settings), lambda key: f"{store.bucket}/{store.prefix}{key}"
