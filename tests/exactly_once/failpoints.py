"""Failpoints: a store that names everything done to it, and does something else at the named moment.

A failpoint is `<operation>:<kind>`: `put:data`, `put_if_absent:commit`, `stat:manifest`, `delete:retry-data`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from raygen.errors import StorageError, UnknownResultError
from raygen.storage.base import ObjectInfo, Store

KINDS = {
    "plan.json": "plan",
    "manifest.json": "manifest",
    "report.html": "report",
    "data": "data",
    "commits": "commit",
    "progress": "progress",
}
WRITES = ("put", "put_if_absent", "delete")
ACTIONS = {
    "kill_before": "the process dies, nothing was done",
    "kill_during": "the process dies before the object gets its final name (a directory only)",
    "kill_after": "it is done, and the process dies before it hears of it",
    "raise": "the store refuses",
    "unknown": "nothing was done, and the store does not say so",
    "lost_answer": "it is done, and the store does not say so",
    "duplicate": "a second worker does the same, whole, at this moment",
    "stop_before": "the process stops; it wakes when others have finished the run, and does it then",
    "stop_after": "it is done; the process stops, and wakes when others have finished the run",
}
READ_ACTIONS = ("kill_before", "raise", "duplicate", "stop_before")


def kind_of(key: str) -> str:
    """What an object of a run is, by its key from the run's top."""
    parts = key.split("/")
    if parts[0] == "retries" and len(parts) > 2:
        return f"retry-{kind_of('/'.join(parts[2:]))}"
    if parts[0].startswith("duplicates-"):
        return "duplicates"
    if parts[0] == "data" and key.endswith(".tar"):
        return "media"
    return "probe" if parts[0].startswith(".probe-") else KINDS.get(parts[0], parts[0])


@dataclass(frozen=True)
class Fault:
    failpoint: str
    nth: int  # the how manieth time, from 1
    action: str


@dataclass
class Script:
    """What to do when, and what was done: shared by all the stores of one session.

    Args:
        duplicate: does what the second worker does; called with failpoint and key.
        late: a stopped process wakes past the limit of its attempts (else within it).
        woken: called when a stopped process goes on.
        kind: names what an object is, by its key.
    """

    faults: tuple[Fault, ...] = ()
    duplicate: Callable[[str, str], None] = lambda failpoint, key: None
    late: bool = False
    woken: Callable[[], None] = lambda: None
    kind: Callable[[str], str] = kind_of
    seen: Counter[str] = field(default_factory=Counter)
    fired: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)  # chunks whose attempt is past its limit
    late_writes: list[str] = field(default_factory=list)  # what was written of them all the same
    muted: bool = False  # while a second worker works
    _lock: Any = field(default_factory=threading.Lock)

    def at(self, operation: str, key: str, do: Callable[[], Any]) -> Any:
        """Do an operation, or what the script has for this moment."""
        if self.muted:
            return do()
        failpoint = f"{operation}:{self.kind(key)}"
        with self._lock:
            self.seen[failpoint] += 1
            if operation in WRITES and any(f"/{chunk}" in key for chunk in self.forbidden):
                self.late_writes.append(key)
            now = [f for f in self.faults if (f.failpoint, f.nth) == (failpoint, self.seen[failpoint])]
        if not now:
            return do()
        self.fired.append(f"{failpoint}#{now[0].nth} {now[0].action}")
        return self._act(now[0].action, failpoint, key, do)

    def _act(self, action: str, failpoint: str, key: str, do: Callable[[], Any]) -> Any:
        if action == "duplicate":
            self.muted = True
            try:
                self.duplicate(failpoint, key)
            finally:
                self.muted = False
        elif action == "kill_before":
            die()
        elif action == "kill_during":
            os.replace = os.link = lambda *_: die()  # how a directory gives an object its final name
        elif action == "raise":
            raise StorageError(f"{failpoint}: refused")
        elif action == "unknown":
            raise UnknownResultError(f"{failpoint}: no answer, nothing done")
        elif action == "stop_before":
            self._stop()
        result = do()
        if action == "kill_after":
            die()
        elif action == "lost_answer":
            raise UnknownResultError(f"{failpoint}: no answer, all done")
        elif action == "stop_after":
            self._stop()
        return result

    def _stop(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        self.woken()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FaultyStore(Store):
    """A store with a failpoint at everything that is asked of it.

    Args:
        top: what a key of this store starts with when it is told from the run's top.
    """

    def __init__(self, inner: Store, script: Script, top: str = "") -> None:
        super().__init__(inner.uri)
        self.inner, self.script, self.top = inner, script, top

    def child(self, prefix: str) -> FaultyStore:
        return FaultyStore(self.inner.child(prefix), self.script, f"{self.top}{prefix.rstrip('/')}/")

    def parent(self) -> FaultyStore:
        above = self.top.rstrip("/").rpartition("/")[0]
        return FaultyStore(self.inner.parent(), self.script, f"{above}/" if above else "")

    def stat(self, key: str) -> ObjectInfo:
        found: ObjectInfo = self.script.at("stat", self.top + key, lambda: self.inner.stat(key))
        return found

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from self.script.at("list", self.top + prefix, lambda: list(self.inner.list(prefix)))

    def get(self, key: str) -> bytes:
        data: bytes = self.script.at("get", self.top + key, lambda: self.inner.get(key))
        return data

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self.inner.get_range(key, start, stop)

    def open(self, key: str) -> BinaryIO:
        return self.inner.open(key)

    def put(self, key: str, data: bytes) -> None:
        self.script.at("put", self.top + key, lambda: self.inner.put(key, data))

    def put_file(self, key: str, file: BinaryIO, sha256: str) -> None:
        self.script.at("put", self.top + key, lambda: self.inner.put_file(key, file, sha256))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        created: bool = self.script.at(
            "put_if_absent", self.top + key, lambda: self.inner.put_if_absent(key, data)
        )
        return created

    def delete(self, key: str) -> None:
        self.script.at("delete", self.top + key, lambda: self.inner.delete(key))
