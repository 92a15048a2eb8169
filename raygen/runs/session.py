"""Sessions: one driver's time on a run, with its progress, in an object of its own. Advisory: nothing is decided by it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar, overload

from raygen.errors import CorruptDataError, KeyNotFoundError, StorageError
from raygen.storage import Store
from raygen.storage.sealed import seal, unseal
from raygen.usage import OUTPUT_TOKENS, Usage, with_usage

PROGRESS = "progress/"
BEAT_S = 2.0  # how often a driver writes its progress
LOST_S = 30.0  # a driver silent for longer is taken for dead
MAX_POINTS = 2000


@dataclass
class Session:
    """What one driver did and does.

    `points` are (seconds since the epoch, rows, amount of the unit that leads, occupancy 0..1).
    """

    id: str = field(default_factory=lambda: f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}")
    state: str = "running"  # running | interrupted | finished
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started_s: float = field(default_factory=time.time)
    updated_s: float = field(default_factory=time.time)
    engine_start_s: float | None = None  # when the first engine was ready
    committed: int = 0  # chunks this session committed
    overtaken: int = 0  # chunks another attempt had committed first
    rows: dict[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    lead: str = OUTPUT_TOKENS  # the unit in which `points` say how much was made
    engine: dict[str, float] = field(default_factory=dict)  # gauges and totals of the engines, summed
    points: list[tuple[float, int, float, float]] = field(default_factory=list)
    eta_s: float | None = None  # as the driver shows it
    note: str | None = None
    # Which endpoints answer nobody now, as the driver shows it.
    silent: list[str] = field(default_factory=list)

    def add_point(self, rows: int, occupancy: float) -> None:
        """Note how far the session is: `rows`, and its usage so far."""
        lead = self.usage.lead
        if lead != self.lead and any(point[2] for point in self.points):
            lead = self.usage.at_least({self.lead: 1}).lead
        if lead != self.lead:  # something was made in a unit that comes first: until now there was none of it
            self.lead = lead
            self.points = [(at_s, n, 0, full) for at_s, n, _, full in self.points]
        self.points.append((round(time.time(), 2), rows, self.usage[self.lead], round(occupancy, 3)))
        if len(self.points) > MAX_POINTS:  # halve the resolution: memory and object stay bounded
            self.points = self.points[::2]

    def write(self, store: Store) -> None:
        """Save; a store that does not answer is no reason to stop a run."""
        self.updated_s = time.time()
        with contextlib.suppress(StorageError):
            store.put(f"{PROGRESS}{self.id}.json", seal(asdict(self)))


Kept = TypeVar("Kept", bound=Session)


@overload
def read_sessions(store: Store) -> list[Session]: ...


@overload
def read_sessions(store: Store, kind: type[Kept]) -> list[Kept]: ...


def read_sessions(store: Store, kind: type[Session] = Session) -> list[Any]:
    """Return the sessions of a run (or of a training: another `kind`), oldest first; a broken one is left out."""
    found = []
    for info in list(store.list(PROGRESS)):
        with contextlib.suppress(CorruptDataError, KeyNotFoundError, TypeError):
            record: dict[str, Any] = unseal(store.get(info.key), info.key)
            record["points"] = [tuple(point) for point in record["points"]]
            found.append(kind(**with_usage(record)))
    return found
