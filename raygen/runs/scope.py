"""The scope of a run: which rows it generates. All rows of its plan, or, for a retry, those that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from raygen.data.sources.base import Range


class Scope(Protocol):
    """What differs between a run of its own and a retry."""

    mends: bool  # whether it mends another run, whose commits its own carry over and whose report tells of it

    @property
    def chunks(self) -> list[int]:
        """The chunks that are to be committed, in order."""

    @property
    def rows(self) -> int:
        """How many rows are to be generated."""

    def positions(self, chunk: int) -> tuple[int, ...] | None:
        """Return the places in a chunk of the rows that are generated; None: all of them."""

    def target(self, wanted: int | None) -> int | None:
        """Return how many accepted rows are enough, where the job wants `wanted`; None: all rows are done."""

    def remedy(self, where: str, all_anew: bool) -> str:
        """Return what to do when another job meets this run.

        Args:
            where: the run's directory.
            all_anew: whether nothing of the run could be taken over.
        """


@dataclass(frozen=True)
class Whole:
    """A run of its own: every row of the plan."""

    ranges: Sequence[Range]
    mends = False

    @property
    def chunks(self) -> list[int]:
        return list(range(len(self.ranges)))

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.ranges)

    def positions(self, chunk: int) -> None:
        return None

    def target(self, wanted: int | None) -> int | None:
        return wanted

    def remedy(self, where: str, all_anew: bool) -> str:
        if all_anew:
            return "Choose another --output, or restore the old settings"
        # What comes before an edited step is the same as it was, and so are the rows of a source that has grown.
        return f"Restore the old settings, or take over what still holds: --output ANOTHER --reuse {where}"


@dataclass(frozen=True)
class Retry:
    """A run that mends another: the rows that failed, all of them, whatever number the job wants.

    Args:
        only: chunk -> the places of its rows that are generated again.
    """

    only: Mapping[int, Sequence[int]]
    mends = True

    @property
    def chunks(self) -> list[int]:
        return sorted(self.only)

    @property
    def rows(self) -> int:
        return sum(map(len, self.only.values()))

    def positions(self, chunk: int) -> tuple[int, ...]:
        return tuple(self.only[chunk])

    def target(self, wanted: int | None) -> None:
        return None

    def remedy(self, where: str, all_anew: bool) -> str:
        return (
            "Finish this retry as it began; or, if nothing of it is wanted and no process works on it, "
            f"remove {where} and retry anew"
        )
