"""R2: three workers, planners, a finisher, a collector and a reader, one store operation at a time, in any order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.exactly_once.interleaving import Interleaving, run_machine
from tests.exactly_once.world import CHUNKS, GRACE_S, LIMIT_S, World

RUNS = int(os.environ.get("RAYGEN_INTERLEAVINGS", "150"))
ALONE = ("finisher", "collector", "reader")  # one of each at a time


class Interleavings(Interleaving):
    counts: Counter[str] = Counter()

    @initialize(second=st.booleans(), what=st.sampled_from(["texts", "texts", "refined", "media"]))
    def plan(self, second: bool, what: str) -> None:
        """One or two drivers pin their plans at once; work begins when there is one. By one of three programs."""
        self.world = World(refined=what == "refined", media=what == "media")
        for _ in range(1 + second):
            self.world.start("planner")
        while any(not planner.ended for planner in self.world.actors):
            for planner in self.world.actors:
                if not planner.ended:
                    planner.step()
        self.look()

    @precondition(lambda self: sum(self.world.actors[n].name.startswith("worker") for n in self.moving()) < 3)
    @rule(chunk=st.sampled_from([0, 0, 0, *range(CHUNKS)]))  # more often than not, the same one
    def start_worker(self, chunk: int) -> None:
        self.world.start("worker", chunk)

    @rule(what=st.sampled_from(ALONE))
    def start(self, what: str) -> None:
        if not any(self.world.actors[number].name.startswith(what) for number in self.moving()):
            self.world.start(what)

    @precondition(lambda self: self.moving())
    @rule(data=st.data(), steps=st.integers(1, 4))
    def step(self, data: st.DataObject, steps: int) -> None:
        actor = self.world.actors[data.draw(st.sampled_from(self.moving()))]
        for _ in range(steps):
            if not actor.ended:
                actor.step()
                self.look()

    @rule(seconds=st.sampled_from([1.0, LIMIT_S / 2, LIMIT_S + 1, GRACE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    def count(self) -> None:
        self.counts["actors"] += len(self.world.actors)
        self.counts["orphans collected"] += self.world.deleted


def test_no_interleaving_breaks_a_promise(say: Callable[[str], None]) -> None:
    counts = run_machine(Interleavings, RUNS)
    say(
        "R2 interleavings: "
        + ", ".join(f"{count} {what}" for what, count in counts.items())
        + ", 0 violations"
    )
    assert counts["orphans collected"] > RUNS / 4, "hardly an orphan was made: the machine is idle"
