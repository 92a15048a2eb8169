"""Interleaving: what every state machine over a world of actors does, and how it is run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

STEPS = 60


class Interleaving(RuleBasedStateMachine):
    """Actors of `world` move one store operation at a time; its problems are looked for after each."""

    counts: Counter[str]
    world: Any

    def moving(self) -> list[int]:
        return [number for number, actor in enumerate(self.world.actors) if not actor.ended]

    def look(self) -> None:
        self.world.check()
        assert not self.world.problems, self.world.problems

    @precondition(lambda self: self.moving())
    @rule(data=st.data(), outcome=st.sampled_from(["lost", "unknown", "late", "refused", "killed"]))
    def step_with_fault(self, data: st.DataObject, outcome: str) -> None:
        self.world.actors[data.draw(st.sampled_from(self.moving()))].step(outcome)
        self.counts["faults"] += 1
        self.look()

    @precondition(lambda self: self.world.late)
    @rule(data=st.data())
    def a_late_write_arrives(self, data: st.DataObject) -> None:
        self.world.land(data.draw(st.integers(0, len(self.world.late) - 1)))
        self.look()

    def count(self) -> None:
        """Count what a world that was settled has seen."""

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.settle()
            assert not self.world.problems, self.world.problems
            self.counts["runs"] += 1
            self.count()
        finally:
            self.world.close()


def run_machine(machine: type[Interleaving], runs: int) -> Counter[str]:
    """Run a machine so many times; return what was counted."""
    machine.counts.clear()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[Phase.generate],  # to see a failure in few steps add Phase.shrink, and minutes
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return machine.counts
