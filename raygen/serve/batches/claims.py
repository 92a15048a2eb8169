"""Claims: which worker is at a batch. A mere economy: two workers at one batch double some work, and never a row.

A worker writes a sign of life now and then. A claim is the next number of a batch, created once; it names the worker. Who sees a
newer claim than its own stops. All ages are told by the store's own clock.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid

from raygen.errors import KeyNotFoundError, StorageError
from raygen.serve.batches.layout import WORKERS, Place
from raygen.serve.batches.objects import Objects
from raygen.storage.sealed import seal

BEAT_S = 5.0
SILENT_S = 30.0


class Claims:
    """The claims of one worker.

    Args:
        rank: of this worker among those of its service: what takes a dead worker's place has its rank, and takes its batches back
            at once.
    """

    def __init__(self, objects: Objects, rank: int = 0) -> None:
        self._objects, self._store, self._rank = objects, objects.store, rank
        self.worker = f"{uuid.uuid4().hex[:16]}"
        self._began_s = 0.0
        self._beaten_s = 0.0
        self._lock = threading.Lock()

    @property
    def _key(self) -> str:
        return f"{WORKERS}{self.worker}.json"

    def beat(self, force: bool = False) -> None:
        """Give a sign of life, if the last one is a while ago. Raises StorageError."""
        with self._lock:
            if not force and time.monotonic() - self._beaten_s < BEAT_S:
                return
            told = {"rank": self._rank, "host": socket.gethostname(), "pid": os.getpid()}
            self._store.put(self._key, seal(told))
            self._beaten_s = time.monotonic()
        if not self._began_s:
            self._began_s = self._store.stat(self._key).modified_s

    def take(self, place: Place) -> int | None:
        """Claim a batch; None while another worker is at it. Returns the claim's number. Raises StorageError."""
        last, claim, claimed_s = self._last(place)
        if claim is not None:
            if claim["worker"] == self.worker:
                return last
            # The worker of this rank before this one is dead. (Stores may tell whole seconds.)
            succeeds = claim["rank"] == self._rank and claimed_s <= self._began_s
            if not succeeds and self._lives(str(claim["worker"])):
                return None
        mine = {"worker": self.worker, "rank": self._rank}
        standing = self._objects.settle(f"{place.claims}{last + 1:08d}.json", mine)
        return last + 1 if standing == mine else None

    def holds(self, place: Place, number: int) -> bool:
        """Whether nobody has claimed the batch since. Raises StorageError."""
        names = self._objects.names(place.claims)
        return not names or int(names[-1]) <= number

    def _last(self, place: Place) -> tuple[int, dict[str, object] | None, float]:
        infos = list(self._store.list(place.claims))
        if not infos:
            return 0, None, 0.0
        last = infos[-1]
        number = int(last.key.rpartition("/")[2].removesuffix(".json"))
        return number, self._objects.find(last.key), last.modified_s

    def _lives(self, worker: str) -> bool:
        try:
            seen_s = self._store.stat(f"{WORKERS}{worker}.json").modified_s
        except KeyNotFoundError:
            return False
        self.beat(force=True)
        return self._store.stat(self._key).modified_s - seen_s <= SILENT_S

    def leave(self) -> None:
        """Let go of everything: the worker ends."""
        try:
            self._store.delete(self._key)
        except StorageError:
            pass  # it is silent from now on
