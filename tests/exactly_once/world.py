"""The world of the interleavings: one run in a MemoryStore, a clock, actors, and what must hold after every step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.config.sink import Sink
from raygen.data.sources.base import InputFile, Range
from raygen.errors import KeyNotFoundError, RaygenError, StorageError
from raygen.runs import collect, commit, manifest, plan
from raygen.runs.commit import (
    Attempt,
    Commit,
    StoredObject,
    chunk_name,
    commit_chunk,
    committed_chunks,
    digest_of_ids,
    read_commit,
    read_commits,
)
from raygen.runs.manifest import finish
from raygen.runs.media import read_media
from raygen.runs.outcome import Outcome, outcome_table
from raygen.runs.plan import Plan, pin
from raygen.runs.retries import read_merged
from raygen.runs.shelf import Shelf
from raygen.storage import create, sealed
from raygen.usage import Usage
from tests.exactly_once.memory_store import MemoryStore
from tests.exactly_once.oracle import (
    Expected,
    Findings,
    Row,
    judge_commits,
    judge_finished,
    judge_rows,
    live_data,
    picture,
    seed_of,
)
from tests.exactly_once.stepping import Actor, SteppingStore

CHUNKS, ROWS = 3, 2
MEDIA_BYTES = 40_000  # of a picture: each is an archive of its own
BESIDE = Sink(media="beside", chunk_bytes=2**16, max_sample_bytes=2**16)
LIMIT_S, GRACE_S = 100.0, 300.0
ONCE = ("plan.json", "manifest.json", "commits/")  # what never changes once it is there


class World:
    """Everything happens through `start`, `step` on an actor, `advance` and `land`; `problems` is what was broken."""

    def __init__(self, store: MemoryStore | None = None, refined: bool = False, media: bool = False) -> None:
        self.now_s = 1_000_000.0
        self.store = store or MemoryStore()
        self.store.clock = lambda: self.now_s
        rows = [[Row(f"r{c}-{n}", f"row {c} {n}", False) for n in range(ROWS)] for c in range(CHUNKS)]
        self.expected = Expected(
            tuple(map(tuple, rows)), 5, 1, refined=refined, media_bytes=MEDIA_BYTES if media else 0
        )
        self.actors: list[Actor] = []
        self.late: list[tuple[str, str, Callable[[], Any]]] = []
        self.problems: list[str] = []
        self.stepping = SteppingStore
        self.plans = 0
        self.deleted = 0
        self._once: dict[str, bytes] = {}
        self._data: dict[str, bytes] = {}
        self._patch = pytest.MonkeyPatch()
        clock = SimpleNamespace(time=lambda: self.now_s, sleep=self.advance)
        for module in (collect, commit, manifest, plan, create, sealed):
            self._patch.setattr(module, "time", clock)

    def close(self) -> None:
        for actor in self.actors:
            if not actor.ended:
                actor.step("killed")
        self._patch.undo()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    # What actors do

    def start(self, what: str, chunk: int = 0) -> Actor:
        """Start a `planner`, `worker` (on a chunk), `finisher`, `collector` or `reader`; it waits for its first step."""
        run = getattr(self, f"_{what}")
        actor = Actor(
            f"{what}{len(self.actors)}",
            lambda me: run(self.stepping(self.store, me), me, chunk),
            self._issued,
            self._delay,
        )
        self.actors.append(actor)
        return actor

    def _planner(self, store: SteppingStore, me: Actor, chunk: int) -> None:
        try:
            Plan.load(store)
        except KeyNotFoundError:
            pin(store, self._new_plan())

    def _new_plan(self) -> Plan:
        self.plans += 1
        return Plan(
            run_id=f"run{self.plans}",
            created_s=self.now_s,
            name="world",
            identity={},
            config_hash="c",
            job={},
            models={},
            inputs=[InputFile("/a", "a", 1, "sha256:0", "1")],
            listing="l",
            chunks=[Range(0, n * ROWS, n * ROWS + ROWS, ROWS, n * ROWS) for n in range(CHUNKS)],
            kept={},
            attempt_limit_s=LIMIT_S,
        )

    def _worker(self, store: SteppingStore, me: Actor, chunk: int) -> tuple[Commit, bool] | None:
        """What Work.begin and Work.write do, with outcomes that differ from attempt to attempt in their lineage."""
        if store.exists(f"commits/{chunk_name(chunk)}.json"):
            return None
        me.memo = attempt = Attempt(LIMIT_S, self.now_s)
        outcomes = self._outcomes(chunk)
        objects: tuple[StoredObject, ...] = ()
        if self.expected.media_bytes:
            with Shelf(store, chunk, attempt, BESIDE) as shelf:
                for place, outcome in enumerate(outcomes):
                    shelf.take(place, outcome.row_id, outcome.samples)
                objects = shelf.close()
        table = outcome_table(outcomes, {"machine": me.name, "models": []}, {})
        ids = digest_of_ids(table.column("row_id"))
        return commit_chunk(
            store,
            chunk,
            table,
            ids=ids,
            rows=ROWS,
            attempt=attempt,
            plan=Plan.load(self.store).digest,
            objects=objects,
            usage=Usage(prompt_tokens=1, output_tokens=1),
        )

    def _outcomes(self, chunk: int) -> list[Outcome]:
        outcomes = []
        for row in self.expected.chunks[chunk]:
            status, texts = self.expected.of(row)
            samples: list[dict[str, Any]] = [{"index": n, "text": t} for n, t in enumerate(texts)]
            if size := self.expected.media_bytes:
                seed = seed_of(row, self.expected.seed, 0, "generate")
                told = {"number": 0, "step": "generate", "media_type": "image/png", "digest": texts[0]}
                told |= {"width": 8, "height": 8, "seconds": None, "size_bytes": size}
                samples = [{"index": 0, "media": picture(row.prompt, seed, size), **told}]
            outcomes.append(Outcome(row.id, status, samples=samples))
        return outcomes

    def _finisher(self, store: SteppingStore, me: Actor, chunk: int) -> None:
        pinned = Plan.load(store)
        if committed_chunks(store) >= set(pinned.todo):
            finish(store, pinned, read_commits(store, pinned.todo))

    def _collector(self, store: SteppingStore, me: Actor, chunk: int) -> None:
        collect.collect(store, GRACE_S, now_s=self.now_s)

    def _reader(self, store: SteppingStore, me: Actor, chunk: int) -> None:
        try:
            merged = read_merged(store)
        except KeyNotFoundError:
            return
        seen = [
            (row["row_id"], row["status"], tuple(self._said(place, sample) for sample in row["samples"]))
            for place, table in zip(merged.chunks, merged.tables(), strict=True)
            for row in table.to_pylist(maps_as_pydicts="lossy")
        ]
        everyone = [row for chunk_rows in self.expected.chunks for row in chunk_rows]
        self._note(judge_rows(seen, everyone, self.expected), "a reader")

    def _said(self, place: tuple[Any, Commit], sample: dict[str, Any]) -> str:
        """The text of a sample; of a picture the SHA-256 of what is read."""
        media = read_media(*place, sample)
        return str(sample["text"]) if media is None else hashlib.sha256(media).hexdigest()

    # What happens to their operations

    def _issued(self, actor: Actor, operation: str, key: str) -> None:
        attempt = actor.memo
        if operation.startswith("put") and attempt and self.now_s - attempt.started_s > attempt.limit_s:
            self.problems.append(f"late_write: {actor.name} wrote {key} after its limit")

    def _delay(self, operation: str, key: str, do: Callable[[], Any]) -> None:
        self.late.append((operation, key, do))

    def land(self, number: int) -> None:
        """A write that nobody heard of any more arrives after all."""
        self.late.pop(number)[2]()

    # What must hold

    def objects(self) -> dict[str, bytes]:
        return {key: data for key, (data, _) in self.store.objects.items()}

    def check(self) -> None:
        """Look at the store after a step."""
        objects = self.objects()
        for key, data in self._once.items():
            if objects.get(key) != data:
                self.problems.append(f"changed: {key}")
        self._once = {key: data for key, data in objects.items() if key.startswith(ONCE)}
        for key, data in self._data.items():
            if objects.get(key, data) != data:
                self.problems.append(f"overwritten: {key}")
            self.deleted += key not in objects
        self._data = {key: data for key, data in objects.items() if key.startswith("data/")}
        found, chunks = judge_commits(objects, "", self.expected)
        self._note(found, "a commit")
        if "manifest.json" in objects:
            self._note(judge_finished(objects, self.expected), "the manifest")
            if len(chunks) < CHUNKS:
                self.problems.append("changed: a manifest before its commits")
        for actor in self.actors:
            allowed = StorageError if actor.name.startswith("reader") else RaygenError
            error = actor.error
            if error is not None and (not isinstance(error, allowed) or isinstance(error, KeyNotFoundError)):
                self.problems.append(f"bug: {actor.name}: {error!r}")
            if actor.result is not None:
                told, mine = actor.result
                if told.chunk not in chunks or read_commit(self.store, told.chunk) != told:
                    self.problems.append(
                        f"untrue: {actor.name} took {told.attempt} for the commit of its chunk"
                    )
                elif mine != (told.attempt == actor.memo.id):
                    self.problems.append(
                        f"untrue: {actor.name} took the commit of {told.attempt} for its own"
                    )

    def _note(self, found: Findings, where: str) -> None:
        self.problems += [f"{name}: {where}: {getattr(found, name)}" for name in found.broken]

    def settle(self) -> None:
        """Let everybody come to an end, finish the run, collect, and look once more."""
        for actor in self.actors:
            actor.finish()
        while self.late:
            self.land(0)
        self.check()
        for what, chunk in [
            ("planner", 0),
            *(("worker", n) for n in range(CHUNKS)),
            ("finisher", 0),
            ("reader", 0),
        ]:
            self._act(what, chunk)
        self.advance(GRACE_S + LIMIT_S + 1)
        self._act("collector", 0)
        self._act("reader", 0)
        self._note(judge_finished(objects := self.objects(), self.expected), "in the end")
        left = {key for key in objects if key.startswith("data/")} - live_data(objects)
        self.problems += [f"orphan: {key}" for key in sorted(left)]

    def _act(self, what: str, chunk: int) -> None:
        actor = self.start(what, chunk)
        actor.finish()
        if actor.error is not None:
            self.problems.append(f"stuck: the last {what} ended with {actor.error!r}")
        self.check()
