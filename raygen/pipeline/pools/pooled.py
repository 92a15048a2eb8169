"""The pooled engine: stands for a model in an engine host, and sends its requests to the replicas of a pool.

A request goes to the replica with the fewest of this host's own requests in flight. Each takes a bounded number; beyond
that requests wait here, in order. A request whose replica is lost goes to another one, in front of all that wait: what it
becomes depends on its seeds alone, so it may be asked for again. Errors of a replica's engine are raised as they are.

It knows no Ray: a replica is reached over a `Link`, and the pool is looked up by a function.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from raygen.cluster.errors_as_text import unpack_error
from raygen.engines import engine_class
from raygen.engines.base import EngineStats
from raygen.engines.forwarding import ForwardingEngine
from raygen.errors import EngineError, RaygenError
from raygen.models.resolved import ResolvedModel
from raygen.program.machine import machine_name

LOOK_S = 1.0  # how often the pool is looked up
PAUSE_S = 0.5  # before a replica that is being started again is asked whether it is back


class ReplicaLostError(Exception):
    """A replica's process ended, or cannot be reached. It may be back later."""


class PoolLostError(EngineError):
    """A pool's replicas keep ending: this pass over the run's chunks is over; another may go on."""

    code = "engine_lost"


@dataclass(frozen=True)
class Ready:
    """What a replica says when its engine has started."""

    version: str
    machine: str


class Link(Protocol):
    """The way to one replica."""

    async def ready(self) -> Ready:
        """Wait until its engine has started. Raises ReplicaLostError; EngineError: it cannot start."""

    async def ask(self, method: str, request: Any) -> Any:
        """Return what this method of its engine returns. Raises what that raises; ReplicaLostError."""


@dataclass(frozen=True)
class Roster:
    """A pool as the driver sees it: its replicas by id, and why there will be no answers, if so."""

    links: Mapping[str, Link]
    # What an engine said that could not start, packed.
    broken: str | None = None
    lost: str | None = None  # its replicas keep ending


@dataclass(eq=False)
class Seat:
    """A replica, as this host knows it."""

    link: Link
    up: bool = False
    in_flight: int = 0
    gone: bool = False  # from the roster
    checking: asyncio.Task[None] | None = None  # whether it is up


class PooledEngine(ForwardingEngine):
    """Stands for a model in an engine host, and sends its requests to the replicas of a pool.

    Args:
        look: returns the pool's present roster, or None while there is none yet.
        replicas: the most there will be.
        hosts: how many hosts share them, at least.
    """

    def __init__(
        self,
        model: ResolvedModel,
        look: Callable[[], Awaitable[Roster | None]],
        *,
        replicas: int = 1,
        hosts: int = 1,
    ) -> None:
        super().__init__(model, EngineStats(extra={f"pool.{model.name}.asked": 0}))
        self._look = look
        engine = engine_class(model.spec.engine)(model)  # only to ask for its room
        self._capacity = math.ceil(engine.capacity * replicas / hosts)
        self._bound = in_flight_bound(engine.capacity, hosts)
        self._seats: dict[str, Seat] = {}
        self._line: deque[asyncio.Future[Seat]] = deque()
        self._versions: set[str] = set()
        self._over: Exception | None = None
        self._changed = asyncio.Event()  # a replica is up, or there will be none

    async def start(self) -> None:
        """Wait for the first replica. Raises EngineError."""
        await self._look_once()
        self._looking = asyncio.create_task(self._keep_looking())
        while self._over is None and not any(seat.up for seat in self._seats.values()):
            await self._changed.wait()
            self._changed.clear()
        if self._over is not None:
            raise self._over

    async def close(self) -> None:
        self._end(EngineError(f"model {self.model.name!r}: the engine is closed"))
        tasks = [seat.checking for seat in self._seats.values() if seat.checking is not None]
        if hasattr(self, "_looking"):
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def version(self) -> str:
        """Of all replicas so far, with the names of machines other than this one."""
        return "; ".join(sorted(self._versions))

    async def ask(self, method: str, request: Any) -> Any:
        asked = f"pool.{self.model.name}.asked"
        self.stats.extra[asked] += 1
        again = False
        try:
            while True:
                seat = await self._take(again)
                try:
                    answer = await seat.link.ask(method, request)
                    self.stats.requests += 1
                    return answer
                except ReplicaLostError:
                    again = True
                    self._check(seat)
                finally:
                    seat.in_flight -= 1
                    self._let_in()
        finally:
            self.stats.extra[asked] -= 1

    async def _take(self, again: bool) -> Seat:
        """Wait for a replica with room, and take a place there. Raises EngineError."""
        if self._over is not None:
            raise self._over
        seat = self._free()
        if seat is not None and (again or not self._line):
            seat.in_flight += 1
            return seat
        future: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        (self._line.appendleft if again else self._line.append)(future)
        self.stats.waiting = len(self._line)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().in_flight -= 1
                self._let_in()
            raise

    def _free(self) -> Seat | None:
        seats = [seat for seat in self._seats.values() if seat.up and seat.in_flight < self._bound]
        return min(seats, key=lambda seat: seat.in_flight, default=None)

    def _let_in(self) -> None:
        while self._line and (seat := self._free()) is not None:
            future = self._line.popleft()
            if not future.done():
                seat.in_flight += 1
                future.set_result(seat)
        self.stats.waiting = len(self._line)

    async def _keep_looking(self) -> None:
        while self._over is None:
            await asyncio.sleep(LOOK_S)
            await self._look_once()

    async def _look_once(self) -> None:
        roster = await self._look()
        if roster is None:  # nobody has said anything yet
            return
        if roster.broken is not None:
            self._end(unpack_error(roster.broken))
        elif roster.lost is not None:
            self._end(PoolLostError(roster.lost))
        for name in self._seats.keys() - roster.links.keys():  # what it has in flight, it still answers
            seat = self._seats.pop(name)
            seat.gone = True
            if seat.checking is not None:
                seat.checking.cancel()
        for name in roster.links.keys() - self._seats.keys():
            self._seats[name] = Seat(roster.links[name])
            self._check(self._seats[name])

    def _check(self, seat: Seat) -> None:
        """Send nothing to a replica until it says that it is ready."""
        seat.up = False
        if not seat.gone and (seat.checking is None or seat.checking.done()):
            seat.checking = asyncio.create_task(self._until_ready(seat))

    async def _until_ready(self, seat: Seat) -> None:
        while True:
            try:
                ready = await seat.link.ready()
            except ReplicaLostError:
                await asyncio.sleep(PAUSE_S)
            except RaygenError as error:
                self._end(error)
                return
            else:
                break
        place = "" if ready.machine == machine_name() else f" on {ready.machine}"
        self._versions.add(ready.version + place)
        seat.up = True
        self._changed.set()
        self._let_in()

    def _end(self, error: Exception) -> None:
        """Nobody waits any more, and nobody comes."""
        if self._over is None:
            self._over = error
        for future in self._line:
            if not future.done():
                future.set_exception(self._over)
        self._line.clear()
        self.stats.waiting = 0
        self._changed.set()


def in_flight_bound(capacity: int, hosts: int) -> int:
    """How many requests a host sends to one replica at once: together with the other hosts, enough to refill its engine."""
    return max(1, math.ceil(2 * capacity / hosts))
