"""A replica: one engine in a Ray actor of its own, and the way to it.

Errors of the engine come back as values: raised through Ray they would lose their class.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import ray

from raygen.cluster.errors_as_text import Failure
from raygen.cluster.ray_metrics import EngineMetrics
from raygen.engines import engine_class
from raygen.engines.base import Engine
from raygen.engines.figures import usage_figures
from raygen.errors import EngineError, RaygenError, told
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.pools.pooled import Ready, ReplicaLostError
from raygen.program.job import Job
from raygen.program.machine import machine_name
from raygen.program.resolve import on_this_node

# What Ray says when an actor's process or node is no more, cannot be reached, or took an answer with it.
LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
)


class Replica:
    """Runs as an asynchronous Ray actor. Its engine starts with the first call, so that one that Ray started again does too."""

    def __init__(self, model: ResolvedModel, job: Job) -> None:
        self._model = model
        self._job = job
        self._starting: asyncio.Task[Engine] | None = None
        self._metrics = EngineMetrics(job.name)

    async def ready(self) -> Ready | Failure:
        """Start the engine, once. Every call gets the same answer."""
        try:
            return Ready((await self._engine()).version, machine_name())
        except RaygenError as error:
            return Failure.of(error)
        except Exception as error:  # noqa: BLE001 - nobody may wait for a replica that cannot come
            return Failure.of(EngineError(f"model {self._model.name!r}: {told(error)}"))

    async def ask(self, method: str, request: Any) -> Any:
        """Return what this method of the engine returns, or a Failure with what it raised."""
        try:
            return await getattr(await self._engine(), method)(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the request came from
            return Failure.of(error)

    async def figures(self, answered: bool = False) -> tuple[dict[str, float], int]:
        """Return the engine's totals and gauges, and its process id.

        Args:
            answered: has any replica of this model answered?
        """
        engine = await self._engine()
        if answered:
            engine.others_are_answered()
        stats = engine.stats
        found = {
            **usage_figures(stats.usage),
            "in_flight": stats.in_flight,
            "waiting": stats.waiting,
            "limit": stats.limit,
            **stats.extra,
        }
        self._metrics.show(found)
        return found, os.getpid()

    async def _engine(self) -> Engine:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> Engine:
        model = await asyncio.to_thread(on_this_node, self._model, self._job.source.storage)
        engine = engine_class(model.spec.engine)(model)
        await engine.start()
        return engine


@dataclass(frozen=True)
class RayLink:
    """A `Link` to a replica, for any event loop."""

    handle: Any

    async def ready(self) -> Ready:
        found: Ready = await self._call(self.handle.ready)
        return found

    async def ask(self, method: str, request: Any) -> Any:
        return await self._call(self.handle.ask, method, request)

    async def _call(self, method: Any, *arguments: Any) -> Any:
        try:
            answer = await method.remote(*arguments)
        except LOST as error:
            raise ReplicaLostError(str(error)) from None
        if isinstance(answer, Failure):
            raise answer.unpacked()
        return answer


def start_replica(
    model: ResolvedModel, job: Job, *, cpus: float, gpus: float, concurrency: int, restarts: int
) -> Any:
    """Ask Ray for a replica; returns its handle at once. It ends with this process, and with its job."""
    actor = ray.remote(Replica).options(
        num_cpus=cpus,
        num_gpus=gpus or None,
        max_concurrency=concurrency,
        max_restarts=restarts,
        max_task_retries=0,  # whoever asked asks another replica
    )
    return actor.remote(model, job)
