"""Enough: when a run that wants so many accepted rows has them, and which rows it then does not need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raygen.runs.commit import Commit
from raygen.runs.outcome import ACCEPTED, STATUSES
from raygen.runs.plan import Plan


@dataclass(frozen=True)
class Acceptance:
    """How a run stands to what it wants.

    Args:
        rows_not_needed: planned rows that a finished run left out; None while it is not finished.
    """

    wanted: int
    accepted: int
    rows_not_needed: int | None = None

    @property
    def line(self) -> str:
        said = f"{self.accepted:,} accepted of {self.wanted:,} wanted"
        if self.accepted >= self.wanted:
            spared = f", {self.rows_not_needed:,} rows not needed" if self.rows_not_needed else ""
            return f"enough: {said}{spared}"
        return f"not enough: {said}" if self.rows_not_needed is not None else f"so far {said}"


def acceptance(plan: Plan, rows: Mapping[str, int], finished: bool) -> Acceptance | None:
    """Return how a run stands to what it wants; None if it wants no number.

    Args:
        rows: by status; of a finished run also its `total`.
    """
    if plan.target is None:
        return None
    return Acceptance(plan.target, rows[ACCEPTED], plan.rows - rows["total"] if finished else None)


def rows_left(plan: Plan, rows: Mapping[str, int], total: int) -> float:
    """Estimate how many rows are still to be done: all, or by the share that is accepted enough of them."""
    done = sum(rows[status] for status in STATUSES)
    left = float(max(0, total - done))
    if plan.target is None or not rows[ACCEPTED]:
        return left
    return min(left, max(0, plan.target - rows[ACCEPTED]) * done / rows[ACCEPTED])


class Target:
    """Counts accepted rows towards what a run wants. A chunk counts once, whoever committed it."""

    def __init__(self, plan: Plan) -> None:
        self.wanted = plan.target
        self.accepted = 0
        self._counted: set[int] = set()

    def add(self, commits: Iterable[Commit]) -> None:
        for commit in commits:
            if commit.chunk not in self._counted:
                self._counted.add(commit.chunk)
                self.accepted += commit.counts[ACCEPTED]

    @property
    def reached(self) -> bool:
        return self.wanted is not None and self.accepted >= self.wanted
