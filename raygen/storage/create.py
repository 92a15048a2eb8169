"""Create an object once, whoever is first; an unknown answer is settled by reading, never by deleting.

All that must exist at most once rests on this function: plans, commits, manifests, duplicates, and a training's claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from raygen.errors import StorageError, UnknownResultError
from raygen.storage.base import Store

WRITE_TRIES = 8
LONGEST_PAUSE_S = 5.0

Standing = TypeVar("Standing")


def pause_s(tries: int) -> float:
    """Return how long to wait after `tries` writes without an answer, in seconds: 0.1, 0.2, 0.4, ... at most 5."""
    return min(0.1 * 2.0 ** (tries - 1), LONGEST_PAUSE_S)


def create_once(
    store: Store,
    key: str,
    data: bytes,
    read: Callable[[], Standing],
    *,
    unsettled: str = "it was written; run again",
    before_write: Callable[[], None] = lambda: None,
    read_back: bool = False,
) -> Standing | None:
    """Create an object if it is absent, or read the one that stands.

    A refusal does not say whose object stands: it may be this very write, repeated after its answer was lost. So the
    caller compares what was read with what it wrote.

    Args:
        read: reads and checks what stands under the key. While it raises StorageError (nothing is there, or the store does
            not answer) the write is tried again; all other errors end the trying.
        unsettled: ends the error of a store that never answers: "the store did not say whether ...".
        before_write: is called before every write, and raises when it is too late for one.
        read_back: read also what the store says that it has created.

    Returns:
        None when the store said that this call created the object (and `read_back` is not set); else what `read` returned.

    Raises:
        UnknownResultError: no try was answered. The object may exist.
        StorageError, AccessError: the store refused the write as such.
    """
    for tries in range(WRITE_TRIES):
        if tries:
            time.sleep(pause_s(tries))
        before_write()
        try:
            if store.put_if_absent(key, data) and not read_back:
                return None
        except UnknownResultError:
            pass  # as after a refusal, what stands there decides
        try:
            return read()
        except StorageError:
            continue
    raise UnknownResultError(f"{store.uri_of(key)}: the store did not say whether {unsettled}")
