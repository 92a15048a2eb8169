"""The scaler: decides when a pool of replicas grows and shrinks. Plain Python; the time is an argument.

A pool is too small while requests wait: while more of them are under way (sent, or held back by the engine hosts) than its
replicas can work on at once. It is too large while all that is under way would fit into one replica fewer.

- It grows when it was too small for WAIT_S seconds without a break, and none of its replicas is still starting: to what
  the requests under way would fill, but to no more than twice what it has, and never beyond the most.
- It shrinks, by one replica, when it was too large for IDLE_S seconds without a break; never below the fewest.
- After either, both times begin anew; so pools of one job do not follow every wave of rows from one to the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WAIT_S = 3.0
IDLE_S = 30.0


@dataclass(frozen=True)
class Load:
    """A pool at one moment."""

    up: int  # replicas that take requests
    coming: int  # replicas that are starting
    asked: float  # requests of all engine hosts that have no answer yet


class Scaler:
    """Decides when a pool of replicas grows and shrinks.

    Args:
        low, high: the fewest replicas and the most.
        room: requests that one replica can usefully work on at once.
    """

    def __init__(
        self, low: int, high: int, room: int, *, wait_s: float = WAIT_S, idle_s: float = IDLE_S
    ) -> None:
        self._low = low
        self._high = high
        self._room = room
        self._wait_s = wait_s
        self._idle_s = idle_s
        self._small_since_s: float | None = None
        self._large_since_s: float | None = None

    def change(self, now_s: float, load: Load) -> int:
        """Return how many replicas to add now; -1 is one fewer. To be called about once a second."""
        small = load.asked > self._room * load.up and load.up + load.coming < self._high
        large = load.asked <= self._room * (load.up - 1) and load.up > self._low
        self._small_since_s = _since(self._small_since_s, small and not load.coming, now_s)
        self._large_since_s = _since(self._large_since_s, large and not load.coming, now_s)
        found = 0
        if self._small_since_s is not None and now_s - self._small_since_s >= self._wait_s:
            wanted = math.ceil(load.asked / self._room)
            found = min(wanted - load.up, max(1, load.up), self._high - load.up)
        elif self._large_since_s is not None and now_s - self._large_since_s >= self._idle_s:
            found = -1
        if found:
            self._small_since_s = self._large_since_s = None
        return found


def _since(since_s: float | None, true: bool, now_s: float) -> float | None:
    """Return since when something is true without a break."""
    if not true:
        return None
    return now_s if since_s is None else since_s
