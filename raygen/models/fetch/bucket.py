"""Bucket: a model under a prefix of an S3 bucket, or one GGUF object in it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raygen.config.source import StorageOptions
from raygen.errors import KeyNotFoundError, ModelReferenceError, StorageError
from raygen.models.fetch.weights import check_names, is_model_file, is_module_config
from raygen.storage import ObjectInfo, Store, open_store, split_uri

PART_BYTES = 32 * 2**20
THREADS = 4


def find_objects(uri: str, options: StorageOptions | None, where: str) -> tuple[Store, list[ObjectInfo]]:
    """Return a model's objects: of the prefix itself, and the configs of a sentence encoder's modules below it.

    Raises:
        ModelReferenceError: there are none, or none with weights; the store does not answer.
        AccessError: bucket or credentials.
    """
    try:
        if uri.endswith(".gguf"):
            store, key = split_uri(uri, options)
            return store, [store.stat(key)]
        store = open_store(uri, options)
        found = [info for info in store.list() if "/" not in info.key or is_module_config(info.key)]
    except KeyNotFoundError:
        raise ModelReferenceError(f"{where}: there is no such object") from None
    except StorageError as error:
        raise ModelReferenceError(f"{where}: {error}") from None
    if not found:
        raise ModelReferenceError(f"{where}: there are no objects right below this prefix")
    check_names([info.key for info in found], where)
    return store, [info for info in found if is_model_file(info.key) or info.key.endswith(".gguf")]


def fetch_objects(store: Store, infos: Sequence[ObjectInfo], target: Path, where: str) -> None:
    """Put the objects into `target`. Raises ModelReferenceError, also when one changes while it is read."""

    def fetch(info: ObjectInfo) -> None:
        path = target / (info.key if is_module_config(info.key) else info.key.rpartition("/")[2])
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as copy:
            for start in range(0, info.size_bytes, PART_BYTES):
                copy.write(store.get_range(info.key, start, min(start + PART_BYTES, info.size_bytes)))
        if store.stat(info.key).version != info.version:
            raise ModelReferenceError(f"{where}: {info.key} changed while it was read; fetch it again")

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fetch, infos))
    except StorageError as error:
        raise ModelReferenceError(f"{where}: {error}") from None
