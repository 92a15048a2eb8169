"""Mutants: the protocol of batches with one idea taken out. Each is what a plausible implementation does instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

from raygen.pipeline import run as pipeline_run
from raygen.runs import commit
from raygen.runs.commit import DATA, Commit, committed_chunks, read_commits
from raygen.runs.plan import Plan
from raygen.serve.batches import driver, ending, files, record, requests, results
from raygen.serve.batches.driver import Driver
from raygen.serve.batches.layout import OPEN, new_id
from raygen.serve.batches.objects import Objects
from raygen.steps.answer import request_name
from raygen.storage import Store
from raygen.storage.sealed import digest_of, seal
from raygen.wire.lines import line_of

Mutant = Callable[[pytest.MonkeyPatch], None]
settle = Objects.settle


def marker_after_request(patch: pytest.MonkeyPatch) -> None:
    """The marker is written once the batch exists: whoever dies in between leaves a batch that nobody finds."""
    mark = Objects.mark

    def late(self: Objects, key: str) -> None:
        if key.startswith(OPEN):
            tenant, _, batch = key.removeprefix(OPEN).partition(".")
            if not self.store.exists(f"tenants/{tenant}/requests/{batch}.json"):
                return
        mark(self, key)

    patch.setattr(Objects, "mark", late)


def end_is_overwritten(patch: pytest.MonkeyPatch) -> None:
    """The end is a plain PUT: the last one counts."""

    def put(self: Objects, key: str, told: dict[str, Any]) -> dict[str, Any]:
        if "/ends/" not in key:
            return settle(self, key, told)
        self.store.put(key, seal(told))
        return told

    patch.setattr(Objects, "settle", put)


def all_commits_count(patch: pytest.MonkeyPatch) -> None:
    """Results are made of whatever is committed when they are read."""
    pieces_of = results.pieces_of

    def now(run: Store, counted: Any, status: str) -> Any:
        there = [(each.chunk, "", each.attempt) for each in read_commits(run, sorted(committed_chunks(run)))]
        return pieces_of(run, there, status)

    patch.setattr(results, "pieces_of", now)


def lease_is_truth(patch: pytest.MonkeyPatch) -> None:
    """Who holds the claim writes what it likes: nobody else can be at work."""

    def put(self: Objects, key: str, told: dict[str, Any]) -> dict[str, Any]:
        if "/claims/" in key or "/idem/" in key:
            return settle(self, key, told)
        self.store.put(key, seal(told))
        return told

    def trusting(store: Store, mine: Commit, attempt: Any = None) -> tuple[Commit, bool]:
        store.put(mine.key, seal(mine.record()))
        return mine, True

    patch.setattr(Objects, "settle", put)
    patch.setattr(commit, "put_commit", trusting)
    patch.setattr(pipeline_run, "put_commit", trusting)


def key_after_request(patch: pytest.MonkeyPatch) -> None:
    """An idempotency key is noted when what it stands for is there."""
    noted: dict[str, tuple[str, dict[str, Any]]] = {}

    def id_for(objects: Objects, tenant: str, kind: str, prefix: str, once: Any, body: Any) -> str:
        key = f"tenants/{tenant}/idem/{digest_of([kind, once.key])}.json"
        standing = objects.find(key)
        if standing is not None:
            return str(standing["id"])
        name = new_id(prefix)
        noted[name] = key, {"id": name, "body": digest_of(body), "created_s": 0.0}
        return name

    def then(self: Objects, key: str, told: dict[str, Any]) -> dict[str, Any]:
        found = settle(self, key, told)
        if "/requests/" in key or "/files/" in key:
            settle(self, *noted[told["id"]])
        return found

    for module in (requests, files):
        patch.setattr(module, "id_for", id_for)
    patch.setattr(Objects, "settle", then)


def status_object(patch: pytest.MonkeyPatch) -> None:
    """The status stands in an object of its own, which workers bring up to date."""
    read, end, judge = record.read_record, Driver._end, Driver._judge

    class Told(record.Record):
        said = "validating"

        @property
        def status(self) -> str:
            return self.said

    def told(objects: Objects, place: Any) -> record.Record:
        found = read(objects, place)
        mine = Told(**{name: getattr(found, name) for name in found.__dataclass_fields__})
        key = f"{place.folder}status"
        if objects.store.exists(key):
            object.__setattr__(mine, "said", objects.store.get(key).decode())
        return mine

    def judged(self: Driver, found: record.Record) -> None:
        judge(self, found)
        self._store.put(f"{self.place.folder}status", b"in_progress")

    def ended(self: Driver, why: str) -> bool:
        over = end(self, why)
        self._store.put(f"{self.place.folder}status", why.encode())
        return over

    for module in (record, requests, driver):
        patch.setattr(module, "read_record", told)
    patch.setattr("tests.serve.batches.crash.scene.read_record", told)
    patch.setattr(Driver, "_judge", judged)
    patch.setattr(Driver, "_end", ended)


def expiry_by_the_clock(patch: pytest.MonkeyPatch) -> None:
    """A worker whose clock says that the batch has expired gives its rows up, and leaves nothing that tells others."""

    def over_as(self: Driver, expires_s: float, cancelled: Callable[[], bool]) -> str | None:
        if cancelled():
            return record.CANCELLED
        return record.EXPIRED if driver.time.time() >= expires_s else None

    patch.setattr(Driver, "_over_as", over_as)


def listing_reader(patch: pytest.MonkeyPatch) -> None:
    """Results are made of the data that a listing shows."""

    def listed(run: Store, counted: Any, status: str) -> Any:
        seed = int(Plan.load(run).job.get("seed", 0))
        for info in sorted(run.list(DATA), key=lambda info: info.key):
            with run.open(info.key) as file:
                for row in pq.read_table(file).to_pylist(maps_as_pydicts="lossy"):
                    good, told = line_of(row, request_name(seed, row["row_id"]))
                    yield results.OUTPUT if good else results.ERRORS, results._written(told)

    for module in (results, ending):
        patch.setattr(module, "pieces_of", listed)
