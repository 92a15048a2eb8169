"""A scene: one batch in one store, and what clients and workers do about it, each in a session of its own.

A session is a process' time: it may be given faults, and be killed or stopped in a child. Nothing else than the store lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.config.source import StorageOptions
from raygen.errors import RaygenError
from raygen.pipeline import run, work
from raygen.program import prepare
from raygen.runs import commit, manifest, plan
from raygen.serve.batches import (
    collector,
    driver,
    execution,
    job,
    turns,
)
from raygen.serve.batches.claims import Claims
from raygen.serve.batches.driver import Driver
from raygen.serve.batches.execution import Way
from raygen.serve.batches.idempotency import Once
from raygen.serve.batches.layout import MARKER, OPEN, Place
from raygen.serve.batches.record import batch_object, read_record
from raygen.serve.batches.service import Batches
from raygen.serve.batches.turns import Turns
from raygen.serve.models.catalog import Catalog
from raygen.serve.tenants.tenant import DEFAULT
from raygen.storage import Store, create, open_store
from raygen.wire.errors import ApiError
from tests.exactly_once.failpoints import FaultyStore, Script, kind_of
from tests.fakes.batch_service import CHAT, lines, settings

ROWS, FAILING, CHUNK = 14, (3, 9), 4
FAR_S = 40 * 86400.0  # past every grace period, and past the batch's window
TENANT = DEFAULT


def kind(key: str) -> str:
    """What an object of a service's store is, by its key."""
    parts = key.split("/")
    if parts[0] != "tenants" or len(parts) < 3:
        return {"open": "marker", "known": "known", "workers": "worker"}.get(parts[0], kind_of(key))
    if parts[2] != "batches":
        return {"contents": "content", "requests": "request", "ends": "end"}.get(parts[2], parts[2])
    if len(parts) < 5:
        return "batch"
    if parts[4] == "run":
        return f"run-{kind_of('/'.join(parts[5:]))}"
    return parts[4].removesuffix(".json")


class Loop:
    """An event loop in a thread, with the models of the service; a child that was forked makes its own."""

    def __init__(self) -> None:
        self._pid = 0

    def catalog(self) -> tuple[asyncio.AbstractEventLoop, Catalog]:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
            self._catalog = Catalog.of(settings("nowhere"))
            asyncio.run_coroutine_threadsafe(self._catalog.start(), self._loop).result(10)
        return self._loop, self._catalog


LOOP = Loop()


@dataclass
class Scene:
    """One story, played in sessions.

    Args:
        uri: of the store. notes: a file where sessions in children leave what clients were told, and bugs.
        key: whether the client sends idempotency keys; else it says how often it repeats a request.
    """

    uri: str
    notes: Path
    storage: StorageOptions = field(default_factory=StorageOptions)
    key: bool = True
    late: bool = False  # the clock is far ahead: the window is over
    sends: dict[str, int] = field(default_factory=dict)
    file: str | None = None
    batch: str | None = None

    def store(self, script: Script | None = None) -> Store:
        store = open_store(self.uri, self.storage)
        return store if script is None else FaultyStore(store, script)

    def batches(self, script: Script | None = None) -> Batches:
        return Batches(self.store(script), settings(self.uri))

    # What clients do

    def upload(self, script: Script | None = None) -> None:
        made = self.batches(script).files.create(
            TENANT.name, io.BytesIO(lines(ROWS, FAILING)), "in.jsonl", None, self._once("upload")
        )
        self.note("file", made["id"])

    def create(self, script: Script | None = None) -> None:
        self._read_notes()
        body = {"input_file_id": self.file, "endpoint": CHAT, "completion_window": "24h", "metadata": None}
        made = self.batches(script).requests.create(TENANT, body, self._once("create"))
        self.note("batch", made["id"])

    def cancel(self, script: Script | None = None) -> None:
        self._asked(lambda found, batch: found.requests.cancel(TENANT, batch), script)

    def cut(self, script: Script | None = None) -> None:
        """Cancel the batch, and let a worker end it."""
        self.cancel(script)
        self.work(script)

    def retry(self, script: Script | None = None) -> None:
        once = self._once("retry")
        self._asked(lambda found, batch: found.requests.retry(TENANT, batch, once), script)

    def _asked(self, ask: Callable[[Batches, str], Any], script: Script | None) -> None:
        self._read_notes()
        assert self.batch is not None
        with contextlib.suppress(_Refused):
            try:
                ask(self.batches(script), self.batch)
            except ApiError as error:
                if error.status != 409:
                    raise
                raise _Refused from None

    def _once(self, what: str) -> Once:
        self.sends[what] = self.sends.get(what, -1) + 1
        return Once(f"{what}-key") if self.key else Once(None, self.sends[what])

    # What the service does

    def work(self, script: Script | None = None) -> None:
        """Drive all that is open as far as it gets."""
        loop, catalog = LOOP.catalog()
        objects = Batches(self.store(script), settings(self.uri)).objects
        config = settings(self.uri)
        room = Turns(lambda: 2 * CHUNK)

        def way(model: str, place: Place) -> Way:
            return Way(catalog.links[model], loop, room, lambda: 2 * CHUNK, 0.0, place.tenant, place.batch)

        claims = Claims(objects)
        claims.beat()
        for info in list(objects.store.list(OPEN)):
            match = MARKER.fullmatch(info.key.removeprefix(OPEN))
            assert match is not None
            place, retry = Place(match[1], match[2]), int(match[3] or 0)
            one = Driver(place, retry, objects, catalog, config.batches, self.storage, way, claims)
            one.run()

    def collect(self, script: Script | None = None) -> None:
        """Collect with no patience at all: everything is old, but for keys, which hold for days."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(collector._Collector, "_old", lambda self, info, age_s=0.0: not age_s)
            collector.collect(self.batches(script).objects, 0.0)

    # Sessions

    def session(self, what: str, script: Script | None = None) -> str:
        """Do one thing, here; returns `done`, or the name of raygen's error that ended it."""
        with self._patched(script):
            try:
                getattr(self, what)(script)
            except (RaygenError, ApiError) as error:
                return type(error).__name__
        return "done"

    def child(self, what: str, script: Script) -> int:
        """Do the same in a child process; returns its pid. Its exit code is 0: done, 3: raygen's error, 70: a bug."""
        pid = os.fork()
        if pid:
            self.sends[what] = self.sends.get(what, -1) + 1
            return pid
        code = 70
        try:
            code = 0 if self.session(what, script) == "done" else 3
        except BaseException:  # noqa: BLE001 - told to the parent
            with open(self.notes.with_suffix(".error"), "a") as told:
                told.write(traceback.format_exc())
        finally:
            os._exit(code)

    def note(self, what: str, name: str) -> None:
        with open(self.notes, "a") as told:
            told.write(f"{what} {name}\n")

    def noted(self, what: str) -> set[str]:
        """The ids that clients were told."""
        if not self.notes.exists():
            return set()
        return {each.split()[1] for each in self.notes.read_text().splitlines() if each.split()[0] == what}

    def _read_notes(self) -> None:
        self.file = next(iter(self.noted("file")), None)
        self.batch = next(iter(self.noted("batch")), None)

    def status(self) -> tuple[str, dict[str, Any] | None]:
        """Where the batch stands, as a client sees it who looks now."""
        self._read_notes()
        if self.batch is None:
            return "none", None
        objects = self.batches().objects
        found = batch_object(objects, read_record(objects, Place(TENANT.name, self.batch)))
        return found["status"], found

    @contextlib.contextmanager
    def _patched(self, script: Script | None) -> Iterator[None]:
        """Put failpoints under everything that a session does; leave out what costs time and proves nothing here."""
        quick = SimpleNamespace(time=time.time, sleep=lambda seconds: None)

        def opened(uri: str, options: StorageOptions | None = None) -> Store:
            store = open_store(uri, options or self.storage)
            top = uri.removeprefix(self.uri).strip("/")
            return store if script is None else FaultyStore(store, script, f"{top}/" if top else "")

        with pytest.MonkeyPatch.context() as patch:
            for module in (prepare, run, work):
                patch.setattr(module, "open_store", opened)
            for module in (commit, manifest, plan, create):
                patch.setattr(module, "time", quick)
            patch.setattr(driver, "time", SimpleNamespace(time=lambda: time.time() + FAR_S * self.late))
            patch.setattr(driver, "LOOK_S", 0.01)
            patch.setattr(execution, "LOOK_S", 0.01)
            patch.setattr(turns, "LOOK_S", 0.02)
            patch.setattr(job, "SMALLEST", CHUNK)
            # A killed process loses nothing that the kernel has; only a power failure would need it.
            patch.setattr(os, "fsync", lambda descriptor: None)
            yield


class _Refused(Exception):
    pass
