"""Objects: sealed records that are created once and never changed, so that they may be kept in memory for ever."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.storage import Store
from raygen.storage.create import create_once
from raygen.storage.sealed import read_sealed, seal, unseal

MOST = 512  # records that are kept; an end with 400 chunks takes about 60 kB


class Objects:
    """The records of a store. That one is missing is never remembered.

    Args:
        single: the store has no conditional writes: whoever writes looks first. Only one process may then.
    """

    def __init__(self, store: Store, single: bool = False, most: int = MOST) -> None:
        self.store, self._single, self._most = store, single, most
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: str) -> dict[str, Any] | None:
        """Return a record, or None. Raises CorruptDataError, StorageError."""
        found: dict[str, Any] | None = self.keep(key, lambda: read_sealed(self.store, key))
        return found

    def find_many(self, keys: Iterable[str]) -> Iterator[dict[str, Any] | None]:
        """Yield records in the order of the keys, reading many at once."""
        keys = list(keys)
        with self._lock:
            missing = [key for key in keys if key not in self._kept]
        with suppress(KeyNotFoundError, CorruptDataError):  # what is left is read one by one
            for key, data in self.store.get_many(missing):
                self._put(key, unseal(data, key))
        for key in keys:
            yield self.find(key)

    def names(self, prefix: str) -> list[str]:
        """Return the names of the records below a prefix, in their order."""
        return [info.key.removeprefix(prefix).removesuffix(".json") for info in self.store.list(prefix)]

    def keep(self, key: str, read: Callable[[], Any]) -> Any:
        """Return what was read of an immutable object; None while it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        try:
            found = read()
        except KeyNotFoundError:
            return None
        self._put(key, found)
        return found

    def forget(self, key: str) -> None:
        """Forget what is about to be removed."""
        with self._lock:
            self._kept.pop(key, None)

    def _put(self, key: str, record: Any) -> None:
        with self._lock:
            self._kept[key] = record
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def settle(self, key: str, record: dict[str, Any]) -> dict[str, Any]:
        """Create a record, and return the one that stands: this one, or that of whoever was first.

        Raises:
            UnknownResultError: the store does not answer.
        """
        if self._single and (standing := self.find(key)) is not None:
            return standing
        found = create_once(
            self.store, key, seal(record), lambda: read_sealed(self.store, key), read_back=True
        )
        assert found is not None
        self._put(key, found)
        return found

    def mark(self, key: str) -> None:
        """Put an empty object; that it is there already is fine."""
        create_once(self.store, key, b"", lambda: self.store.stat(key))
