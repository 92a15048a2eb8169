"""Stepping: actors in threads of their own, of which one moves at a time, from one store operation to the next.

What a step does with the operation that an actor waits for:
    done        it is done, and the actor hears so
    lost        it is done, and the actor hears nothing (UnknownResultError)
    unknown     it is not done, and the actor hears nothing
    late        the actor hears nothing, and it is done at some later time (see World.land)
    refused     it is not done, and the actor hears so (StorageError)
    killed      the actor is no more
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, BinaryIO

from raygen.errors import StorageError, UnknownResultError
from raygen.storage.base import ObjectInfo, Store, pieces_of

WRITES = ("put", "put_if_absent", "delete")


class Killed(BaseException):
    """What a killed actor's thread unwinds with; nothing may catch it."""


class Actor:
    """A function that runs from one store operation to the next.

    Args:
        issue: called when the actor asks for an operation, before it waits; late: takes over a late one.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Actor], Any],
        issue: Callable[[Actor, str, str], None],
        late: Callable[[str, str, Callable[[], Any]], None],
    ) -> None:
        self.name = name
        self.waiting: tuple[str, str] | None = None  # operation and key
        self.result: Any = None
        self.error: Exception | None = None
        self.memo: Any = None  # the worker's attempt
        self._run, self._issue, self._late = run, issue, late
        self._orders: SimpleQueue[str] = SimpleQueue()
        self._moved: SimpleQueue[None] = SimpleQueue()
        self._dead = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()
        self._moved.get()

    @property
    def ended(self) -> bool:
        return self.waiting is None

    def _main(self) -> None:
        try:
            self.result = self._run(self)
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001 - judged by who made the actor
            self.error = error
        self.waiting = None
        self._moved.put(None)

    def step(self, outcome: str = "done") -> None:
        """Let the operation have this outcome, and the actor run on to its next one, or its end."""
        assert not self.ended
        self._orders.put(outcome)
        self._moved.get()
        if self.ended:
            self._thread.join()

    def finish(self) -> None:
        while not self.ended:
            self.step()

    def at(self, operation: str, key: str, do: Callable[[], Any]) -> Any:
        if self._dead:
            raise Killed
        self._issue(self, operation, key)
        self.waiting = (operation, key)
        self._moved.put(None)
        outcome = self._orders.get()
        if outcome == "killed":
            self._dead = True
            raise Killed
        if outcome == "refused":
            raise StorageError(f"{operation} {key}: refused")
        if operation in WRITES and outcome == "late":
            self._late(operation, key, do)
        if operation in WRITES and outcome in ("unknown", "late"):
            raise UnknownResultError(f"{operation} {key}: no answer")
        result = do()
        if operation in WRITES and outcome == "lost":
            raise UnknownResultError(f"{operation} {key}: no answer")
        return result


class SteppingStore(Store):
    """A store whose every operation is a step of an actor."""

    def __init__(self, inner: Store, actor: Actor, top: str = "") -> None:
        super().__init__(inner.uri)
        self.inner, self.actor, self.top = inner, actor, top

    def child(self, prefix: str) -> SteppingStore:
        return SteppingStore(self.inner.child(prefix), self.actor, f"{self.top}{prefix.rstrip('/')}/")

    def parent(self) -> SteppingStore:
        above = self.top.rstrip("/").rpartition("/")[0]
        return SteppingStore(self.inner.parent(), self.actor, f"{above}/" if above else "")

    def _at(self, operation: str, key: str, do: Callable[[], Any]) -> Any:
        return self.actor.at(operation, self.top + key, do)

    def stat(self, key: str) -> ObjectInfo:
        found: ObjectInfo = self._at("stat", key, lambda: self.inner.stat(key))
        return found

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from self._at("list", prefix, lambda: list(self.inner.list(prefix)))

    def get(self, key: str) -> bytes:
        data: bytes = self._at("get", key, lambda: self.inner.get(key))
        return data

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self.inner.get_range(key, start, stop)

    def open(self, key: str) -> BinaryIO:
        return self.inner.open(key)

    def put(self, key: str, data: bytes) -> None:
        self._at("put", key, lambda: self.inner.put(key, data))

    def put_file(self, key: str, file: BinaryIO, sha256: str) -> None:
        data = b"".join(pieces_of(file, sha256))  # as it is now: a late write arrives when the file is gone
        self._at("put", key, lambda: self.inner.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        created: bool = self._at("put_if_absent", key, lambda: self.inner.put_if_absent(key, data))
        return created

    def delete(self, key: str) -> None:
        self._at("delete", key, lambda: self.inner.delete(key))
