"""The pools: the driver's side of a job's pooled models. Starts their replicas, watches, scales and ends them.

A thread looks after them once a second, and tells the board who is in each pool; engine hosts read it there. Replicas are
this process's actors: they end with it, however it ends. One whose process dies is started again by Ray, up to the number
of times that is allowed; after that its pool is lost, and with it this pass over the run's chunks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from raygen.cluster.errors_as_text import Failure, pack_error, unpack_error
from raygen.engines import engine_class
from raygen.engines.figures import ANSWERED, POOL, add_figures, is_gauge
from raygen.errors import EngineError, told
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.pools.layout import Group, with_threads
from raygen.pipeline.pools.pooled import PooledEngine, Ready, Roster, in_flight_bound
from raygen.pipeline.pools.replica import LOST, RayLink, start_replica
from raygen.pipeline.pools.scaler import Load, Scaler
from raygen.program.job import Job

TICK_S = 1.0
LEAVE_S = 3.0  # until every host knows that a replica takes no more
SPARE_CALLS = 32  # of a replica's calls at once, for what is no request

COMING, UP, LEAVING = "coming", "up", "leaving"


@dataclass(eq=False)
class Member:
    """A replica, and the call whose answer is awaited from it: first that it is ready, then its figures."""

    handle: Any
    answer: Any
    state: str = COMING
    figures: dict[str, float] = field(default_factory=dict)
    pid: int | None = None
    left_s: float = 0.0

    @property
    def name(self) -> str:
        return str(self.handle._actor_id.hex())


class Pool:
    """One model's replicas. Driven by `tick`."""

    def __init__(self, model: ResolvedModel, job: Job, group: Group, hosts: Group, restarts: int) -> None:
        self.model = model
        self.broken: str | None = None
        self.lost: str | None = None
        self.members: list[Member] = []
        self._job = job
        self._group = group
        self._restarts = restarts
        room = engine_class(model.spec.engine)(model).capacity
        self._concurrency = in_flight_bound(room, hosts.low) * hosts.high + SPARE_CALLS
        self._scaler = Scaler(group.low, group.high, room)
        self._answered = False
        self._past: dict[str, float] = {}  # totals of engines that are no more

    def add(self, replicas: int) -> None:
        for _ in range(replicas):
            handle = start_replica(
                with_threads(self.model, self._group.threads),
                self._job,
                cpus=self._group.cpus,
                gpus=self._group.gpus,
                concurrency=self._concurrency,
                restarts=self._restarts,
            )
            self.members.append(Member(handle, handle.ready.remote()))

    def roster(self) -> Roster:
        links = {each.name: RayLink(each.handle) for each in self.members if each.state == UP}
        return Roster(links, self.broken, self.lost)

    def up(self) -> int:
        return sum(member.state == UP for member in self.members)

    def tick(self, now_s: float, asked: float, answered: bool) -> None:
        """Take in what replicas have answered; grow or shrink by the requests that are under way.

        Args:
            asked: requests under way; answered: has any been answered yet?
        """
        self._answered = answered
        self._listen()
        for member in [each for each in self.members if each.state == LEAVING]:
            idle = not member.figures.get("in_flight") and not member.figures.get("waiting")
            if idle and now_s - member.left_s > LEAVE_S:
                self._remove(member)
        coming = sum(member.state == COMING for member in self.members)
        change = self._scaler.change(now_s, Load(self.up(), coming, asked))
        if change > 0:
            self.add(change)
        elif change < 0:
            here = [member for member in self.members if member.state == UP]
            leaver = min(here, key=lambda member: member.figures.get("in_flight", 0))
            leaver.state, leaver.left_s = LEAVING, now_s

    def _listen(self) -> None:
        by_answer = {member.answer: member for member in self.members}
        if not by_answer:
            return
        answered, _ = ray.wait(list(by_answer), num_returns=len(by_answer), timeout=0)
        for answer in answered:
            self._hear(by_answer[answer])

    def _hear(self, member: Member) -> None:
        try:
            found = ray.get(member.answer)
        except ray.exceptions.ActorDiedError as error:
            if member.state != LEAVING:
                self.lost = (
                    f"model {self.model.name!r}: a replica's process ended, and is started again only {self._restarts} "
                    f"times: {' '.join(str(error).split())[:300]}"
                )
            self._remove(member)
        except LOST:  # Ray starts it again
            if member.state == LEAVING:
                self._remove(member)
                return
            self._bury(member.figures)
            member.state, member.figures = COMING, {}
            member.answer = member.handle.ready.remote()
        except ray.exceptions.RayError as error:
            text = " ".join(str(error).split())[:300]
            self.broken = pack_error(EngineError(f"model {self.model.name!r}: {text}"))
            self._remove(member)
        else:
            if isinstance(found, Failure):
                self.broken = found.error
                self._remove(member)
                return
            if isinstance(found, Ready):
                member.state = UP if member.state == COMING else member.state
            else:
                member.figures, member.pid = found
            member.answer = member.handle.figures.remote(self._answered)

    def _remove(self, member: Member) -> None:
        self.members.remove(member)
        self._bury(member.figures)
        ray.kill(member.handle, no_restart=True)

    def _bury(self, figures: Mapping[str, float]) -> None:
        add_figures(self._past, {key: value for key, value in figures.items() if not is_gauge(key)})

    def gauges(self) -> dict[str, float]:
        """Totals and gauges of the replicas together; those of the pool itself are named after it."""
        found = dict(self._past)
        members = list(self.members)
        for member in members:
            add_figures(found, member.figures)
        own = {key: found.get(key, 0) for key in ("in_flight", "waiting", "limit")}
        own["replicas"] = sum(member.state == UP for member in members)
        return {**found, **{f"{POOL}{self.model.name}.{key}": value for key, value in own.items()}}

    def close(self) -> None:
        for member in list(self.members):
            self._remove(member)


class Pools:
    """All pools of a job.

    Args:
        groups: laid out: the engine hosts first.
        board: where hosts read who is in a pool.
        restarts: how often a replica's process may end.
    """

    def __init__(
        self,
        job: Job,
        models: Mapping[str, ResolvedModel],
        groups: Sequence[Group],
        board: Any,
        restarts: int,
    ) -> None:
        hosts, *pooled = groups
        self._board = board
        self._pools = [Pool(models[group.name], job, group, hosts, restarts) for group in pooled]
        self._lows = [group.low for group in pooled]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="pools", daemon=True)

    def start(self, stopping: Callable[[], bool]) -> str | None:
        """Start the fewest replicas of each pool, and wait for the first of each, or until `stopping`.

        Returns:
            What is wrong, if a pool is lost: another pass may go better.

        Raises:
            EngineError: an engine cannot start.
        """
        for pool, low in zip(self._pools, self._lows, strict=True):
            pool.add(low)
        if self._pools:
            self._thread.start()
        while not stopping():
            for pool in self._pools:
                if pool.broken is not None:
                    raise unpack_error(pool.broken)
                if pool.lost is not None:
                    return pool.lost
            if all(pool.up() for pool in self._pools):
                break
            time.sleep(0.05)
        return None

    def pids(self) -> dict[str, list[int]]:
        """Return the process ids of each pool's replicas, as far as they have said."""
        return {
            pool.model.name: [member.pid for member in pool.members if member.pid] for pool in self._pools
        }

    def gauges(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for pool in self._pools:
            add_figures(found, pool.gauges())
        return found

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        for pool in self._pools:
            pool.close()

    def _look_after(self) -> None:
        while True:
            try:
                self._tick()
            except ray.exceptions.RayError:  # the board is being started again
                pass
            except Exception as error:  # noqa: BLE001 - nobody may wait for a pool that nobody looks after
                for pool in self._pools:
                    pool.broken = pack_error(EngineError(f"the pools: {told(error)}"))
                with contextlib.suppress(ray.exceptions.RayError):
                    self._publish()
                return
            quick = not all(pool.up() for pool in self._pools)
            if self._ended.wait(0.1 if quick else TICK_S):
                return

    def _tick(self) -> None:
        asked = ray.get(self._board.gauges.remote())
        now_s = time.monotonic()
        for pool in self._pools:
            name = pool.model.name
            pool.tick(now_s, asked.get(f"{POOL}{name}.asked", 0), bool(asked.get(f"{ANSWERED}{name}")))
        self._publish()

    def _publish(self) -> None:
        ray.get(self._board.publish.remote({pool.model.name: pool.roster() for pool in self._pools}))


def stand_ins(
    models: Mapping[str, ResolvedModel], groups: Sequence[Group], board: Any
) -> dict[str, PooledEngine]:
    """Return what stands for the pooled models in an engine host."""
    hosts, *pooled = groups

    def look_up(name: str) -> Callable[[], Any]:
        async def look() -> Roster | None:
            with contextlib.suppress(ray.exceptions.RayError):  # the board is being started again
                found: Roster | None = await board.pool.remote(name)
                return found
            return None

        return look

    return {
        group.name: PooledEngine(
            models[group.name], look_up(group.name), replicas=group.high, hosts=hosts.low
        )
        for group in pooled
    }
