"""The world of the interleavings: one batch in a MemoryStore, a clock, and actors that move one store operation at a time.

Actors do what processes of a service do, by its own code; only the model is left out: chunks are answered in the actor's thread.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pyarrow as pa
import pytest

from raygen.data.sources.base import ROW_ID, InputFile, Range
from raygen.errors import KeyNotFoundError, RaygenError, StorageError
from raygen.runs import commit, manifest, plan, retries
from raygen.runs.commit import (
    Attempt,
    chunk_name,
    commit_chunk,
    committed_chunks,
    digest_of_ids,
    read_commits,
)
from raygen.runs.job_record import JobRecord
from raygen.runs.manifest import MANIFEST_KEY, finish
from raygen.runs.outcome import UNASKED, Outcome, outcome_table
from raygen.runs.plan import Plan, pin
from raygen.runs.retries import plan_retry
from raygen.serve.batches import (
    claims,
    collector,
    driver,
    ending,
    files,
    idempotency,
    layout,
    requests,
    results,
)
from raygen.serve.batches.claims import Claims
from raygen.serve.batches.driver import Driver
from raygen.serve.batches.idempotency import Once
from raygen.serve.batches.layout import MARKER, OPEN, Place
from raygen.serve.batches.record import batch_object, read_record
from raygen.serve.batches.service import Batches
from raygen.serve.batches.validate import Verdict
from raygen.serve.tenants.tenant import DEFAULT
from raygen.storage import Store, create, sealed
from raygen.usage import Usage
from raygen.wire.errors import ApiError
from raygen.wire.lines import unasked
from tests.exactly_once.memory_store import MemoryStore
from tests.exactly_once.stepping import Actor, SteppingStore
from tests.fakes.batch_service import CHAT, TENANT, settings
from tests.serve.batches.crash.matrix import OVER, RANK

CHUNKS, ROWS = 3, 2
FAILS = "r3"
WINDOW_S, LIMIT_S, GRACE_S = 86400.0, 7 * 86400.0, 3600.0
ONCE = (
    "/requests/",
    "/ends/",
    "/commits/",
    "plan.json",
    "manifest.json",
    "verdict",
    "cancel",
    "finalizing",
    "/files/",
)
IDS = [f"r{n}" for n in range(CHUNKS * ROWS)]


class World:
    """Everything happens through `start`, `step` on an actor, `advance` and `land`; `problems` is what was broken."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0
        self.store = MemoryStore(lambda: self.now_s)
        self.actors: list[Actor] = []
        self.late: list[Callable[[], Any]] = []
        self.problems: list[str] = []
        self.made: dict[str, set[str]] = {"file": set(), "batch": set()}
        self._here = threading.local()
        self._once: dict[str, bytes] = {}
        self._results: dict[str, bytes] = {}
        self._rank = 0
        self._patch = pytest.MonkeyPatch()
        clock = SimpleNamespace(time=lambda: self.now_s, monotonic=lambda: self.now_s, sleep=self.advance)
        for module in (
            commit, manifest, plan, create, sealed, claims, driver, ending, files, idempotency, layout, requests, collector,
        ):  # fmt: skip
            self._patch.setattr(module, "time", clock, raising=False)
        told = SimpleNamespace(model_validate=lambda given: given, model_dump=lambda **_: {"seed": 0})
        self._patch.setattr(driver, "Job", told)
        self._patch.setattr(
            results, "Job", SimpleNamespace(model_validate=lambda given: SimpleNamespace(source=None))
        )
        self._patch.setattr(driver, "validate", lambda *_: Verdict(CHUNKS * ROWS, "echo"))
        self._patch.setattr(driver, "job_of", lambda *_: told)
        self._patch.setattr(driver, "prepare", lambda job: self._prepared())
        self._patch.setattr(driver, "prepare_retry", lambda store, job: self._prepared_retry(store))
        self._patch.setattr(retries, "check_resume", lambda *_: None)
        self._patch.setattr(results, "open_source", lambda source: SimpleNamespace(read=_read))
        self._patch.setattr(
            Driver, "_drive", lambda me, run, expires_s, cancelled: _drive(me, run, expires_s, cancelled)
        )

    def close(self) -> None:
        for actor in self.actors:
            if not actor.ended:
                actor.step("killed")
        self._patch.undo()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    def land(self, number: int) -> None:
        """A write that nobody heard of any more arrives after all."""
        self.late.pop(number)()

    def start(self, what: str) -> Actor:
        """Start an actor; it waits for its first step."""

        def run(me: Actor) -> None:
            self._here.store = SteppingStore(self.store, me)
            getattr(self, f"_{what}")(Batches(self._here.store, settings("memory")))

        name = f"{what}{len(self.actors)}"
        actor = Actor(name, run, lambda *_: None, lambda operation, key, do: self.late.append(do))
        self.actors.append(actor)
        return actor

    # What actors do

    def _upload(self, batches: Batches) -> None:
        made = batches.files.create(TENANT, io.BytesIO(b"content"), "in.jsonl", None, Once("upload"))
        self.made["file"].add(made["id"])

    def _create(self, batches: Batches) -> None:
        for file in sorted(self.made["file"]):
            body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
            self.made["batch"].add(batches.requests.create(DEFAULT, body, Once("create"))["id"])

    def _cancel(self, batches: Batches) -> None:
        for batch in sorted(self.made["batch"]):
            batches.requests.cancel(DEFAULT, batch)

    def _retry(self, batches: Batches) -> None:
        for batch in sorted(self.made["batch"]):
            batches.requests.retry(DEFAULT, batch, Once("retry"))

    def _worker(self, batches: Batches) -> None:
        mine = Claims(batches.objects)
        mine.beat()
        link = SimpleNamespace(links={"echo": None})
        for info in batches.store.list(OPEN):
            match = MARKER.fullmatch(info.key.removeprefix(OPEN))
            assert match is not None
            self._here.place = place = Place(match[1], match[2])
            config = batches.config
            Driver(
                place, int(match[3] or 0), batches.objects, link, config.batches, config.storage, lambda *_: None, mine
            ).run()  # fmt: skip

    def _collector(self, batches: Batches) -> None:
        collector.collect(batches.objects, GRACE_S)

    def _prepared(self) -> SimpleNamespace:
        run = self._here.store.child(self._here.place.run)
        try:
            found = Plan.load(run)
        except KeyNotFoundError:
            pin(run, self._new_plan())
            found = Plan.load(run)
        return SimpleNamespace(store=run, plan=found)

    def _prepared_retry(self, run: Store) -> SimpleNamespace | None:
        found = plan_retry(run, JobRecord("world", None, {}, {"seed": 0}, LIMIT_S), {})  # type: ignore[arg-type]
        if found is None:
            return None
        child, mine = found
        pin(child, mine)
        return SimpleNamespace(store=child, plan=Plan.load(child))

    def _new_plan(self) -> Plan:
        return Plan(
            run_id=layout.new_id("run"),
            created_s=self.now_s,
            name="world",
            identity={},
            config_hash="c",
            job={"seed": 0},
            models={},
            inputs=[InputFile("/a", "a", 1, "sha256:0", "1")],
            listing="l",
            chunks=[Range(0, n * ROWS, n * ROWS + ROWS, ROWS, n * ROWS) for n in range(CHUNKS)],
            kept={},
            attempt_limit_s=LIMIT_S,
        )

    # What must hold

    def check(self) -> None:
        """Look at the store after a step."""
        objects = {key: data for key, (data, _) in self.store.objects.items()}
        for key, data in self._once.items():
            if objects.get(key) != data:
                self.problems.append(f"changed: {key}")
        self._once = {key: data for key, data in objects.items() if any(part in key for part in ONCE)}
        for what, names in self.made.items():
            if len(names) > 1:
                self.problems.append(f"doubled: {what} {names}")
        for key in objects:
            if "/requests/" in key:
                self._look(key.rpartition("/")[2].removesuffix(".json"), objects)
        for actor in self.actors:
            if actor.error is not None and not isinstance(actor.error, RaygenError | ApiError):
                self.problems.append(f"bug: {actor.name}: {actor.error!r}")

    def _look(self, batch: str, objects: dict[str, bytes]) -> None:
        reader = Batches(self.store, settings("memory"))
        place = Place(TENANT, batch)
        found = batch_object(reader.objects, read_record(reader.objects, place))
        rank = RANK.get(found["status"], OVER)
        if rank < self._rank:
            self.problems.append(f"backwards: to {found['status']}")
        self._rank = rank
        for name in (found["output_file_id"], found["error_file_id"]):
            if name is not None:
                content = reader.files.content(TENANT, name)
                data = b"".join(content.pieces)
                if self._results.setdefault(name, data) != data or len(data) != content.size_bytes:
                    self.problems.append(f"result: {name} has other bytes than before")

    def settle(self) -> None:
        """Let everybody come to an end, bring the batch to its own, and judge it."""
        for actor in self.actors:
            actor.finish()
        while self.late:
            self.land(0)
        self.check()
        if not self.made["batch"]:
            return
        for what in ("worker", "collector", "worker", "worker"):
            self.advance(GRACE_S + 1)
            actor = self.start(what)
            actor.finish()
            if actor.error is not None:
                self.problems.append(f"stuck: the last {what} ended with {actor.error!r}")
            self.check()
        reader = Batches(self.store, settings("memory"))
        (batch,) = self.made["batch"]
        found = reader.requests.get(DEFAULT, batch)
        if RANK.get(found["status"], OVER) != OVER:
            self.problems.append(f"stuck: {found['status']}")
        lines = [
            orjson.loads(line)
            for name in (found["output_file_id"], found["error_file_id"])
            if name is not None
            for line in b"".join(reader.files.content(TENANT, name).pieces).splitlines()
        ]
        unread = found["status"] == "cancelled" and not found["request_counts"]["total"]
        ids = sorted(line["custom_id"] for line in lines)
        if ids != ([] if unread else IDS):
            self.problems.append(f"rows: {found['status']} {ids}")
        codes = {line["error"]["code"] for line in lines if line["error"] is not None}
        if not codes <= {f"batch_{found['status']}"} & UNASKED:
            self.problems.append(f"unasked: {codes} of a batch that is {found['status']}")
        counts, asked = found["request_counts"], sum(line["response"] is not None for line in lines)
        if counts["completed"] + counts["failed"] != asked:
            self.problems.append(f"counts: {counts} of {asked} that were asked")
        if any(key.startswith(OPEN) for key in self.store.objects):
            self.problems.append("left: a marker")


def _read(inputs: Any, ranges: list[Range], columns: Any) -> Any:
    for each in ranges:
        yield pa.table({ROW_ID: [f"r{n}" for n in range(each.start, each.stop)]})


def _drive(me: Driver, run: Any, expires_s: float, cancelled: Callable[[], bool]) -> str:
    """Do what a session does, without the model and in this thread."""
    store, mine = run.store, run.plan
    if store.exists(MANIFEST_KEY):
        return "finished"
    for chunk in mine.todo:
        if me._reason(expires_s, cancelled) is not None:
            return "interrupted"
        if store.exists(f"commits/{chunk_name(chunk)}.json"):
            continue
        attempt = Attempt(LIMIT_S, commit.time.time())
        # Of a chunk that is under way when the batch is over, the first row was begun, and no other.
        over = me._over_as(expires_s, cancelled)
        outcomes = [_outcome(f"r{chunk * ROWS + n}", over if n else None) for n in range(ROWS)]
        table = outcome_table(outcomes, {"models": []}, {})
        ids = digest_of_ids(table.column("row_id"))
        usage = Usage(prompt_tokens=1, output_tokens=1)
        commit_chunk(store, chunk, table, ids=ids, rows=ROWS, attempt=attempt, plan=mine.digest, usage=usage)
    if committed_chunks(store) < set(mine.todo):
        raise StorageError("a chunk is missing")
    finish(store, mine, read_commits(store, mine.todo))
    return "finished"


def _outcome(row_id: str, over: str | None) -> Outcome:
    if over is not None:
        code, message = unasked(over)
        return Outcome(row_id, "failed", code, error={"code": code, "message": message, "step": "answer"})
    if row_id == FAILS:
        error: dict[str, str | None] = {"code": "boom", "message": "it fails", "step": "answer"}
        return Outcome(row_id, "failed", "boom", error=error)
    text = orjson.dumps({"row": row_id}).decode()
    return Outcome(row_id, "accepted", samples=[{"index": 0, "call": f"answer-{row_id}", "text": text}])
