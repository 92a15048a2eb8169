"""The board: a small actor where engines post their figures, and read whether the run is stopping and who is in a pool."""

from __future__ import annotations

import time
from typing import Any

from raygen.engines.figures import ANSWERED, add_figures, is_gauge

SILENT_S = 10.0  # an engine that has not posted for longer is gone


class Board:
    """Runs as a Ray actor without CPUs. Gauges are summed over living engines, totals over all that ever posted.

    It may be killed and started again at any time: engines post anew, and the driver repeats that the run is stopping.
    """

    def __init__(self) -> None:
        self._posts: dict[str, tuple[float, dict[str, float]]] = {}
        self._stopping = False
        self._answered: set[str] = set()
        self._pools: dict[str, Any] = {}

    def push(self, engine: str, figures: dict[str, float]) -> tuple[bool, list[str]]:
        """Take an engine's figures; return whether to begin no more chunks, and which models have answered anybody."""
        self._posts[engine] = (time.monotonic(), figures)
        self._answered |= {key for key, times in figures.items() if key.startswith(ANSWERED) and times}
        return self._stopping, [key.removeprefix(ANSWERED) for key in self._answered]

    def gauges(self, stopping: bool = False) -> dict[str, Any]:
        """Return the sums, and `replicas`: how many engines live. `stopping`: what the driver knows."""
        self._stopping |= stopping
        now_s = time.monotonic()
        found: dict[str, Any] = {"replicas": 0}
        for posted_s, figures in self._posts.values():
            alive = now_s - posted_s < SILENT_S
            found["replicas"] += alive
            add_figures(found, {k: v for k, v in figures.items() if alive or not is_gauge(k)})
        return found

    def stop(self) -> None:
        self._stopping = True

    def stopping(self) -> bool:
        return self._stopping

    def publish(self, pools: dict[str, Any]) -> None:
        """Take what the driver says about every pool, which it repeats."""
        self._pools = pools

    def pool(self, name: str) -> Any:
        """Return what the driver said about a pool; None if nothing yet."""
        return self._pools.get(name)
