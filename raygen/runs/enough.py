"""Enough: when a run that wants so many accepted rows has them, and which rows it then does not need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from raygen.formatting import count
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
            spared = f", {count(self.rows_not_needed, 'row')} not needed" if self.rows_not_needed else ""
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


class Goal(Protocol):
    """When a run has enough before all its chunks are committed."""

    counts_rows: bool  # whether it matters what commits say, and not only that they stand

    def add(self, commits: Iterable[Commit]) -> None:
        """Take note of commits; a chunk counts once."""

    @property
    def reached(self) -> bool:
        """Whether no more chunks are needed."""

    @property
    def line(self) -> str:
        """How far it is, for people."""


def goal_of(plan: Plan, duplicates: Callable[[Iterable[Commit]], int] = lambda commits: 0) -> Goal:
    """Return what a run is for: a number of accepted rows, or all its rows. A retry has its rows, and does them all.

    Args:
        duplicates: counts the duplicates among the accepted rows of some commits.
    """
    return AllRows() if plan.target is None else Target(plan.target, duplicates)


class AllRows:
    """The goal of a run that wants every row: nothing but the last chunk's commit is enough."""

    counts_rows = False
    reached = False
    line = ""

    def add(self, commits: Iterable[Commit]) -> None:
        """All the same what they say."""


class Target:
    """Counts accepted rows towards what a run wants. A chunk counts once, whoever committed it.

    Args:
        wanted: accepted rows.
        duplicates: counts the duplicates among the accepted rows of some commits, which are not wanted. It is asked when
            there are enough rows without it.
    """

    counts_rows = True

    def __init__(
        self, wanted: int, duplicates: Callable[[Iterable[Commit]], int] = lambda commits: 0
    ) -> None:
        self.wanted = wanted
        self._duplicates = duplicates
        self._found = 0  # duplicates, when they were last looked for
        self._looked: int | None = None  # how many chunks there were then
        self._counted: dict[int, Commit] = {}
        self._accepted = 0

    def add(self, commits: Iterable[Commit]) -> None:
        for commit in commits:
            if commit.chunk not in self._counted:
                self._counted[commit.chunk] = commit
                self._accepted += commit.counts[ACCEPTED]

    @property
    def accepted(self) -> int:
        return self._accepted - self._found

    @property
    def reached(self) -> bool:
        if self.accepted < self.wanted:
            return False
        if self._looked != len(self._counted):
            self._found, self._looked = self._duplicates(self._counted.values()), len(self._counted)
        return self.accepted >= self.wanted

    @property
    def line(self) -> str:
        return f"{self.accepted:,} accepted of {self.wanted:,} wanted"
