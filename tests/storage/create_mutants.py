"""Mutants of `create_once`: each is what a plausible implementation does instead."""

from __future__ import annotations

from collections.abc import Callable

from raygen.errors import KeyNotFoundError, StorageError, UnknownResultError
from raygen.storage import Store
from raygen.storage.create import WRITE_TRIES, create_once

Read = Callable[[], bytes]
Before = Callable[[], None]


def _nothing() -> None:
    pass


def overwrite(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """A plain write: the last one counts."""
    before_write()
    store.put(key, data)
    return read() if read_back else None


def delete_on_unknown(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """A write that got no answer is taken for failed, and cleaned up."""
    for _ in range(WRITE_TRIES):
        before_write()
        try:
            if store.put_if_absent(key, data) and not read_back:
                return None
            return read()
        except UnknownResultError:
            store.delete(key)
        except StorageError:
            continue
    raise UnknownResultError("no answer")


def refusal_is_success(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """A refusal is taken for one's own write, come twice: nothing is read."""
    for _ in range(WRITE_TRIES):
        before_write()
        try:
            store.put_if_absent(key, data)
            return read() if read_back else None
        except StorageError:
            continue
    raise UnknownResultError("no answer")


def unknown_is_success(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """A write that got no answer is taken for done."""
    try:
        return create_once(store, key, data, read, before_write=before_write, read_back=read_back)
    except UnknownResultError:
        return None


def unknown_is_failure(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """The first write without an answer is the last."""
    before_write()
    if store.put_if_absent(key, data) and not read_back:
        return None
    return read()


def unknown_means_that_it_stands(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """No answer is taken for a refusal: if nothing is there to be read, that is an error."""
    before_write()
    try:
        if store.put_if_absent(key, data) and not read_back:
            return None
    except UnknownResultError:
        pass
    return read()


def own_data_without_reading(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """After a refusal, what was to be written is told, not what stands."""
    standing = create_once(store, key, data, read, before_write=before_write, read_back=read_back)
    return None if standing is None else data


def a_silent_read_is_absence(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """Where a read gets no answer, nothing stands: so it can be written over."""
    for _ in range(WRITE_TRIES):
        before_write()
        try:
            if store.put_if_absent(key, data) and not read_back:
                return None
        except UnknownResultError:
            pass
        try:
            return read()
        except KeyNotFoundError:
            continue
        except StorageError:
            store.put(key, data)
    raise UnknownResultError("no answer")


def late(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """The limit is looked at once, before the first write."""
    before_write()
    return create_once(store, key, data, read, read_back=read_back)


def endless(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """It asks twice as often."""
    try:
        return create_once(store, key, data, read, before_write=before_write, read_back=read_back)
    except UnknownResultError:
        return create_once(store, key, data, read, before_write=before_write, read_back=read_back)


def no_read_back(
    store: Store,
    key: str,
    data: bytes,
    read: Read,
    *,
    before_write: Before = _nothing,
    read_back: bool = False,
) -> bytes | None:
    """What the store says that it has created is never read."""
    return create_once(store, key, data, read, before_write=before_write)


# Mutant -> the promise that it breaks.
MUTANTS = {
    overwrite: "wrote over",
    delete_on_unknown: "deleted",
    refusal_is_success: "took another's for its own",
    unknown_is_success: "claimed to know what a silent store has",
    unknown_is_failure: "gave up on a store that answers",
    unknown_means_that_it_stands: "gave up on a store that answers",
    own_data_without_reading: "told what does not stand",
    a_silent_read_is_absence: "wrote over",
    late: "wrote too late",
    endless: "other tries than promised",
    no_read_back: "did not read back",
}
