"""The timeline of a run: points over all its sessions, parted where it did not run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PAUSE_POSTS = 3  # a total that is not posted for so many usual times stands still


# Seconds since start, rows done, how much was made in the unit that leads, occupancy 0..1.
Point = tuple[float, float, float, float]


def between_posts(t: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Leave out points that repeat a total, for engines post more rarely: what came between two posts came all the while.

    Returns the points that are left, and the usual time between two posts. Where a total stands still for longer, nothing
    came: there its last point is kept.
    """
    import numpy as np

    new = np.flatnonzero(np.diff(level)) + 1
    if len(new) < 3:
        return t, level, float(t[-1] - t[0])
    post_s = float(np.median(np.diff(t[new])))
    still = new[(t[new] - t[np.concatenate([[0], new[:-1]])]) > PAUSE_POSTS * post_s] - 1
    kept = np.unique(np.concatenate([[0, len(t) - 1], new, still]))
    return t[kept], level[kept], post_s


@dataclass(frozen=True)
class Timeline:
    """Points of a run, parted where it did not run."""

    parts: list[list[Point]]  # one a session that has at least two points
    pauses: list[float]  # seconds between one part and the next

    @property
    def running_s(self) -> float:
        return sum(part[-1][0] - part[0][0] for part in self.parts)

    @classmethod
    def of(cls, points: Sequence[Point], sessions: int) -> Timeline:
        """Sort the points and cut them at the `sessions - 1` likeliest pauses.

        Args:
            points: in any order; counts are totals of the whole run.
            sessions: how many times the run was started or resumed.

        A pause is where a total fell (work that was not committed is lost at an interruption), or an interval
        at least three times as long as the usual one.
        """
        line = sorted(points)
        if line and line[0][0] > 0:
            line.insert(0, (0.0, 0.0, 0.0, line[0][3]))  # a run begins with nothing done
        steps = [(b[0] - a[0], b[1] < a[1] or b[2] < a[2]) for a, b in itertools.pairwise(line)]
        usual_s = sorted(length for length, _ in steps)[len(steps) // 2] if steps else 0.0
        likely = sorted(range(len(steps)), key=lambda i: (not steps[i][1], -steps[i][0]))[
            : max(0, sessions - 1)
        ]
        cuts = sorted(i for i in likely if steps[i][1] or steps[i][0] >= 3 * usual_s > 0)
        whole = [line[a:b] for a, b in itertools.pairwise([0, *(i + 1 for i in cuts), len(line)])]
        parts = [part for part in whole if part and part[-1][0] > part[0][0]]
        return cls(parts, [b[0][0] - a[-1][0] for a, b in itertools.pairwise(parts)])
