"""The worker: finds batches that are open, and drives them, each in a thread. Tenants take turns.

Any number may run, and each may die at any moment: all that they know stands in the store.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from raygen.errors import RaygenError
from raygen.program.host import lookahead
from raygen.serve.batches.claims import Claims
from raygen.serve.batches.collector import collect
from raygen.serve.batches.driver import Driver
from raygen.serve.batches.execution import Way
from raygen.serve.batches.layout import MARKER, OPEN, Place
from raygen.serve.batches.objects import Objects
from raygen.serve.batches.turns import Turns
from raygen.serve.config import ServiceConfig
from raygen.serve.models.catalog import Catalog

POLL_S = 1.0
COLLECT_S = 600.0
MOST_DRIVEN = 16  # batches at work at once in this worker
SLICE_S = 60.0  # a batch may be at work so long before it makes room for a tenant that waits
LONGEST_PAUSE_S = 60.0
Key = tuple[Place, int]  # a batch, and the number of a retry or 0
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Driven:
    driver: Driver
    thread: threading.Thread
    began_s: float = field(default_factory=time.monotonic)


class Worker:
    """Drives the open batches of a store.

    Args:
        rank: of this worker among those of its service.
    """

    def __init__(self, objects: Objects, catalog: Catalog, config: ServiceConfig, rank: int = 0) -> None:
        self._objects, self._store, self._catalog, self._config = objects, objects.store, catalog, config
        self._claims = Claims(objects, rank)
        self._driven: dict[Key, Driven] = {}
        self._pauses: dict[Key, tuple[float, float]] = {}  # until when, and how long it was
        self._turns: dict[str, Turns] = {}
        self._replicas: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._collected_s: float | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to work, over links that belong to this event loop."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="batch-worker", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for open batches now."""
        self._wake.set()

    def stop(self, grace_s: float = 30.0) -> None:
        """End: chunks under way get this long. What is left goes on with the next worker."""
        self._ended.set()
        self._wake.set()
        with self._lock:
            driven = list(self._driven.values())
        for each in driven:
            each.driver.pause()
        until_s = time.monotonic() + grace_s
        for each in driven:
            each.thread.join(max(0.0, until_s - time.monotonic()))
        if self._thread is not None:
            self._thread.join(max(0.0, until_s - time.monotonic()) + 2 * POLL_S)
        self._claims.leave()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._claims.beat()
                self._look()
                self._collect()
            except RaygenError as error:
                log.warning("batches: %s", error)
            except Exception:
                log.exception("batches: the worker goes on after an error")
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _look(self) -> None:
        """Take up open batches, as many as may be at work."""
        waiting = self._open()
        with self._lock:
            for key in [key for key, each in self._driven.items() if not each.thread.is_alive()]:
                del self._driven[key]
            waiting = [key for key in waiting if key not in self._driven and self._may_try(key)]
            busy = Counter(place.tenant for place, _ in self._driven)
            while waiting and len(self._driven) < MOST_DRIVEN and not self._ended.is_set():
                key = min(waiting, key=lambda key: busy[key[0].tenant])  # of one tenant the oldest first
                waiting.remove(key)
                busy[key[0].tenant] += 1
                self._begin(key)
            self._make_room([key for key in waiting if not busy[key[0].tenant]], busy)

    def _open(self) -> list[Key]:
        """Return what has a marker, oldest first."""
        found = []
        for info in self._store.list(OPEN):
            match = MARKER.fullmatch(info.key.removeprefix(OPEN))
            if match is not None:
                found.append((Place(match[1], match[2]), int(match[3] or 0)))
        return sorted(found, key=lambda key: key[0].batch, reverse=True)

    def _may_try(self, key: Key) -> bool:
        return time.monotonic() >= self._pauses.get(key, (0.0, 0.0))[0]

    def _begin(self, key: Key) -> None:
        config = self._config
        driver = Driver(
            *key, self._objects, self._catalog, config.batches, config.storage, self._way, self._claims
        )
        thread = threading.Thread(target=self._drive, args=(key, driver), name=key[0].batch, daemon=True)
        self._driven[key] = Driven(driver, thread)
        thread.start()

    def _make_room(self, kept_out: list[Key], busy: Counter[str]) -> None:
        """Pause a batch for tenants of whom none is at work: one of who has most, or the one at work for longest."""
        if not kept_out or not self._driven:
            return
        tenant, most = busy.most_common(1)[0]
        mine = [each for (place, _), each in self._driven.items() if most == 1 or place.tenant == tenant]
        oldest = min(mine, key=lambda each: each.began_s)
        if most > 1 or time.monotonic() - oldest.began_s > SLICE_S:
            oldest.driver.pause()

    def _drive(self, key: Key, driver: Driver) -> None:
        place, _ = key
        ended = False
        try:
            ended = driver.run()
        except RaygenError as error:
            log.warning("%s of %s waits: %s: %s", place.batch, place.tenant, type(error).__name__, error)
        except Exception:
            log.exception("%s of %s waits", place.batch, place.tenant)
        with self._lock:
            if ended:
                self._pauses.pop(key, None)
                return
            pause_s = min(LONGEST_PAUSE_S, max(1.0, 2 * self._pauses.get(key, (0.0, 0.0))[1]))
            self._pauses[key] = (time.monotonic() + pause_s, pause_s)

    def _way(self, model: str, place: Place) -> Way:
        link = self._catalog.links[model]
        with self._lock:
            turns = self._turns.setdefault(model, Turns(lambda: self._room(model)))
        grace_s = self._config.batches.grace_s
        return Way(link, self._loop, turns, lambda: self._room(model), grace_s, place.tenant, place.batch)

    def _room(self, model: str) -> int:
        """Return how many rows of batches are worth having at a model at once."""
        given = self._config.batches.rows_in_flight
        return given or 2 * lookahead([self._catalog.links[model].engine]) * max(1, self._replicas[model])

    def _collect(self) -> None:
        """Count replicas, and now and then remove what crashes left."""
        for model in self._turns:
            figures = asyncio.run_coroutine_threadsafe(
                self._catalog.links[model].figures(), self._loop
            ).result(5)
            self._replicas[model] = max(figures.replicas, figures.wanted)
        now_s = time.monotonic()
        if self._collected_s is None or now_s - self._collected_s > COLLECT_S:
            self._collected_s = now_s
            threading.Thread(target=self._tidy, name="batch-collector", daemon=True).start()

    def _tidy(self) -> None:
        try:
            collect(self._objects)
        except RaygenError as error:
            log.warning("batches: collecting: %s", error)
        except Exception:
            log.exception("batches: collecting")
