"""Every way in which a store may answer two creators of one key, and what must hold whatever it answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Protocol

from raygen.errors import AttemptExpiredError, CorruptDataError, StorageError, UnknownResultError
from raygen.storage import Store
from raygen.storage.create import WRITE_TRIES
from tests.exactly_once.memory_store import MemoryStore

KEY = "claim.json"
MINE, OTHERS = b"mine", b"others"
# What becomes of a write: answered, done with its answer lost, not done and not answered, and the last with another's write
# that comes just before it.
WRITES = ("answered", "lost_answer", "lost_write", "beaten", "beaten_unheard")
# What becomes of a read: answered, not answered, or answered with damage.
READS = ("answered", "silent", "damaged")


class Create(Protocol):
    """`create_once`, or a mutant of it."""

    def __call__(
        self,
        store: Store,
        key: str,
        data: bytes,
        read: Callable[[], bytes],
        *,
        before_write: Callable[[], None] = ...,
        read_back: bool = ...,
    ) -> bytes | None: ...


class ScriptedStore(MemoryStore):
    """Answers writes and reads as two scripts say, and truly when they have ended. It keeps what was asked of it."""

    def __init__(self, writes: tuple[str, ...] = (), reads: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._writes, self._reads = iter(writes), iter(reads)
        self.asked: list[str] = []
        self.created_by: str | None = None

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.asked.append("put_if_absent")
        fate = next(self._writes, "answered")
        if fate.startswith("beaten") and super().put_if_absent(key, OTHERS):
            self.created_by = "other"
        if fate in ("lost_write", "beaten_unheard"):
            raise UnknownResultError("no answer")
        created = super().put_if_absent(key, data)
        if created:
            self.created_by = "me"
        if fate == "lost_answer":
            raise UnknownResultError("no answer")
        return created

    def get(self, key: str) -> bytes:
        self.asked.append("get")
        fate = next(self._reads, "answered")
        if fate == "silent":
            raise StorageError("no answer")
        if fate == "damaged":
            raise CorruptDataError("not what was written")
        return super().get(key)

    def put(self, key: str, data: bytes) -> None:
        self.asked.append("put")
        super().put(key, data)

    def delete(self, key: str) -> None:
        self.asked.append("delete")
        super().delete(key)

    @property
    def stands(self) -> bytes | None:
        return self.objects[KEY][0] if KEY in self.objects else None


def scripts(length: int = 3) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], bool, bool]]:
    """Yield every script of this many writes and as many reads, with and without a first object, read back or not."""
    yield from itertools.product(
        itertools.product(WRITES, repeat=length),
        itertools.product(READS, repeat=length),
        (False, True),
        (False, True),
    )


def broken_promises(create: Create) -> set[str]:
    """Play every script and say which promises were broken. Empty: none."""
    broken: set[str] = set()
    for writes, reads, taken, read_back in scripts():
        store = ScriptedStore(writes, reads)
        if taken:
            store.objects[KEY] = (OTHERS, 0.0)
            store.created_by = "other"
        broken |= _played(create, store, read_back, damaged="damaged" in reads)
    return broken | _silence(create) | _lateness(create)


def _played(create: Create, store: ScriptedStore, read_back: bool, damaged: bool) -> set[str]:
    """Let it create; the store answers truly after a few operations."""
    broken = set()
    answer: bytes | None = None
    ended = "returned"
    try:
        answer = create(store, KEY, MINE, lambda: store.get(KEY), read_back=read_back)
    except CorruptDataError:
        ended = "damaged"
    except StorageError:
        ended = "gave up"
    if ended == "gave up":
        broken.add("gave up on a store that answers")
    if ended == "damaged" and not damaged:
        broken.add("cried damage")
    if "delete" in store.asked:
        broken.add("deleted")
    if "put" in store.asked:
        broken.add("wrote over")
    if ended == "returned":
        if store.stands is None:
            broken.add("nothing stands")
        if answer is None and store.created_by != "me":
            broken.add("took another's for its own")
        if answer is not None and answer != store.stands:
            broken.add("told what does not stand")
        if read_back and answer is None:
            broken.add("did not read back")
    if store.stands != {"me": MINE, "other": OTHERS, None: None}[store.created_by]:
        broken.add("the first write does not stand")
    return broken


def _silence(create: Create) -> set[str]:
    """A store that never answers is given up after some tries, and what was perhaps written stays."""
    broken = set()
    for fate in ("lost_write", "lost_answer"):
        store = ScriptedStore((fate,) * 100, ("silent",) * 100)
        try:
            create(store, KEY, MINE, lambda store=store: store.get(KEY))  # type: ignore[misc]
            broken.add("claimed to know what a silent store has")
        except StorageError:
            if store.asked.count("put_if_absent") != WRITE_TRIES:
                broken.add("other tries than promised")
        if (store.stands is None) != (fate == "lost_write"):
            broken.add("deleted")
    return broken


def _lateness(create: Create) -> set[str]:
    """No write is begun after the caller's limit, however many there were before."""
    broken = set()
    for allowed in range(WRITE_TRIES):
        store = ScriptedStore(("lost_write",) * 100, ("answered",) * 100)

        def too_late(store: ScriptedStore = store, allowed: int = allowed) -> None:
            if store.asked.count("put_if_absent") >= allowed:
                raise AttemptExpiredError("too late")

        try:
            create(store, KEY, MINE, lambda store=store: store.get(KEY), before_write=too_late)  # type: ignore[misc]
        except AttemptExpiredError:
            pass
        except StorageError:
            broken.add("wrote too late")
        if store.asked.count("put_if_absent") > allowed:
            broken.add("wrote too late")
    return broken
