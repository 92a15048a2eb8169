"""Pace: how fast rows end and tokens come, told from totals that grow in bursts: a short window sees a burst, or none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

MEAN_S = 1200.0  # rows a second are the mean of so long, or of half of the session, if that is longer
RATE_S = 60.0  # tokens a second are the mean of so long


@dataclass(frozen=True)
class Pace:
    per_s: float
    since_s: float  # when it was measured: so long ago, and when so many rows fewer had ended
    since_rows: float

    def left_s(self, rows: float) -> float:
        """How long so many more rows take."""
        return max(0.0, (rows + self.since_rows) / self.per_s - self.since_s)


def pace_of(points: Iterable[Sequence[float]], began_s: float, now_s: float) -> Pace | None:
    """Return how fast rows end; None before the first have.

    Args:
        points: time and rows so far, then anything; began_s: when the first engine was ready.
    """
    ends = [(began_s, 0.0)]
    for at_s, rows, *_ in points:
        if at_s > ends[-1][0] and rows > ends[-1][1]:
            ends.append((at_s, rows))
    if len(ends) == 1:
        return None
    window_s = max(MEAN_S, (now_s - began_s) / 2)
    recent = [at_s for at_s, _ in ends if at_s > now_s - window_s]
    burst_s = 1.5 * max((b - a for a, b in pairwise(recent)), default=window_s)
    last_s, last_rows = ends[-1]
    # Measured from the end of a burst to the end of one: the mean falls between them, and at the next one's beginning.
    old = [end for end in ends[:-1] if now_s - window_s - burst_s <= end[0] <= now_s - window_s]
    first_s, first_rows = min(old or ends[:1], key=lambda end: (last_rows - end[1]) / (last_s - end[0]))
    if now_s - last_s > burst_s:  # something holds the rows up
        return Pace((last_rows - first_rows) / (now_s - first_s), 0.0, 0.0)
    per_s, at_s, rows = max(
        ((n - first_rows) / (s - first_s), s, n) for s, n in ends if s > first_s and now_s - s <= burst_s
    )
    return Pace(per_s, now_s - at_s, last_rows - rows)


@dataclass
class Rate:
    """A total that is read more often than it is posted: its rate is that between two posts, and no post twice."""

    _posts: list[tuple[float, float]] = field(default_factory=list)

    def add(self, now_s: float, total: float) -> None:
        posts = self._posts
        if not posts or (total < posts[-1][1] and now_s - posts[-1][0] > RATE_S):
            # Nothing at all is no post: engines were still being started. One that fell stays so: count anew.
            self._posts = [(now_s, total)] if total > 0 else []
        elif total > posts[-1][1]:
            posts.append((now_s, total))
        while len(self._posts) > 2 and now_s - self._posts[0][0] > RATE_S:
            self._posts.pop(0)

    def per_s(self, now_s: float) -> float | None:
        """Return None before the second post."""
        if len(self._posts) < 2:
            return None
        (first_s, first), (last_s, last) = self._posts[0], self._posts[-1]
        longest_s = max(b[0] - a[0] for a, b in pairwise(self._posts))
        ended_s = last_s if now_s - last_s <= 2 * longest_s else now_s
        return (last - first) / (ended_s - first_s)
