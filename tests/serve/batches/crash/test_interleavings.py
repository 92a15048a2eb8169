"""B2: two APIs, two workers, cancel, expiry, retry and a collector, one store operation at a time, in any order."""

from __future__ import annotations

import os
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, precondition, rule

from tests.exactly_once.interleaving import Interleaving, run_machine
from tests.exactly_once.stepping import Actor
from tests.serve.batches.crash import mutants
from tests.serve.batches.crash.world import GRACE_S, WINDOW_S, World

RUNS = int(os.environ.get("RAYGEN_INTERLEAVINGS", "20"))
MOST = {"upload": 2, "create": 2, "worker": 2, "cancel": 1, "retry": 2, "collector": 1}  # at a time
PLACES = ["/commits/00000001", "/commits/00000002", "finalizing", "/ends/"]
WEIGHTED = ["worker", "worker", "worker", "create", "cancel", "retry", "retry", "collector", "upload"]


class Interleavings(Interleaving):
    counts: Counter[str] = Counter()

    @initialize(
        ahead=st.sampled_from(["nothing", "upload", "create", "work", "race", "race", "race"]),
        where=st.sampled_from(PLACES),
        between=st.sampled_from(["cancel", "cancel", None]),
    )
    def begin(self, ahead: str, where: str, between: str | None) -> None:
        """The story so far. In a race one worker waits at a write, and another comes after it, as after a cancel."""
        self.world = World()
        for what, until in (("upload", "upload create work"), ("create", "create work"), ("worker", "work")):
            if ahead in until.split():
                self.world.start(what).finish()
                self.look()
        if ahead == "race":
            for what in ("upload", "create"):
                self.world.start(what).finish()
            self.until(where)
            if between is not None:
                self.world.start(between).finish()
            self.world.advance(31.0)
            self.until(PLACES[-1])

    def until(self, where: str) -> None:
        """Start a worker, and let it come to its write of an object."""
        worker = self.world.start("worker")
        while not worker.ended and not (
            worker.waiting is not None and worker.waiting[0].startswith("put") and where in worker.waiting[1]
        ):
            worker.step()
        self.look()

    @rule(what=st.sampled_from(WEIGHTED))
    def start(self, what: str) -> None:
        if sum(self.world.actors[number].name.startswith(what) for number in self.moving()) < MOST[what]:
            self.world.start(what)

    @precondition(lambda self: self.moving())
    @rule(data=st.data(), steps=st.integers(1, 12))
    def step(self, data: st.DataObject, steps: int) -> None:
        actor = self.world.actors[data.draw(st.sampled_from(self.moving()))]
        for _ in range(steps):
            if not actor.ended:
                actor.step()
        self.look()

    @rule(seconds=st.sampled_from([1.0, 31.0, GRACE_S + 1, WINDOW_S / 2]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    def count(self) -> None:
        self.counts["ends"] += sum("/ends/" in key for key in self.world.store.objects)


def test_no_interleaving_breaks_a_promise() -> None:
    counts = run_machine(Interleavings, RUNS)
    assert counts["ends"] > RUNS / 2, f"hardly a batch came to its end: the machine is idle: {counts}"


def given_up_at_the_expiry() -> World:
    """A batch expires while a worker has its last chunk under way, and another one is about to find that chunk committed."""
    world = World()
    for what in ("upload", "create"):
        world.start(what).finish()
    last = "/commits/00000002"

    def at_last_chunk() -> Actor:
        worker = world.start("worker")
        while last not in (worker.waiting or ("", last))[1]:
            worker.step()
        return worker

    first = at_last_chunk()
    first.step()
    world.advance(31.0)
    other = at_last_chunk()
    world.advance(WINDOW_S)
    while not any(last in key for key in world.store.objects):
        first.step()
    other.finish()
    world.settle()
    world.close()
    return world


def test_rows_that_were_given_up_are_in_no_completed_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_up_at_the_expiry().problems == []
    mutants.expiry_by_the_clock(monkeypatch)
    assert any(each.startswith("unasked:") for each in given_up_at_the_expiry().problems)


def test_the_world_sees_a_commit_that_counts_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the machine is no mere idling: with results made of all commits, this race breaks a promise."""
    mutants.all_commits_count(monkeypatch)
    race = Interleavings()
    race.begin("race", PLACES[0], "cancel")
    late, *_, last = (race.world.actors[number] for number in race.moving())
    for worker in (last, late):
        worker.finish()
        race.world.check()
    race.world.close()
    assert any(each.startswith("result:") for each in race.world.problems)
