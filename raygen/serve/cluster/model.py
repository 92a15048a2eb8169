"""Model: the deployment that holds one replica of a model. What it raises travels as a value: Serve would log it, and wrap it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from ray import serve

from raygen.cluster.errors_as_text import Failure
from raygen.config.source import StorageOptions
from raygen.engines.requests import GenerateChunk, GenerateRequest
from raygen.errors import EngineError, RowError, UserError
from raygen.models.resolved import ResolvedModel
from raygen.program.host import ChunkResult
from raygen.program.machine import machine_name
from raygen.program.resolve import on_this_node, resolve_further_adapter
from raygen.serve.cluster.paced import paced
from raygen.serve.cluster.rebind import check_rebound
from raygen.serve.cluster.replica_process import prepare
from raygen.serve.config import ServedModel
from raygen.serve.models.link import ChunkWork, Figures
from raygen.serve.models.replica import Replica

log = logging.getLogger(__name__)

PACE_S = 0.04  # between messages of a stream, after the first


@dataclass(frozen=True, slots=True)
class About:
    """A replica, as a gateway sees it: how it stands, and what it is."""

    figures: Figures
    capacity: int
    yardstick: str | None
    version: str
    machine: str
    pid: int
    adapters: tuple[str, ...]


class ModelServer:
    """One replica of a model.

    Args:
        model: as whoever deploys it resolved it; its weights are found again on this node.
        served: what the service says of it.
        storage: access to where its weights are.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, model: ResolvedModel, served: ServedModel, storage: StorageOptions
    ) -> None:
        prepare()
        self._storage, self._served = storage, served
        here = await asyncio.to_thread(on_this_node, model, storage)
        self._replica = Replica(here, served)
        self._held = {name: adapter.ref for name, adapter in here.adapters.items()}
        self._loading: dict[str, asyncio.Lock] = {}
        await self._replica.start()

    async def ready(self) -> bool:
        """Answer: whoever waits for a replica knows by it that there is one."""
        return True

    async def ask(self, verb: str, request: Any, adapter_ref: str | None = None) -> Any:
        """Return what a verb of the engine returns, or a Failure with what it raised."""
        try:
            await self._hold(getattr(request, "adapter", None), adapter_ref)
            return await getattr(self._replica.engine, verb)(request)
        except Exception as error:  # noqa: BLE001 - raised where the request came from
            return self._failure(error)

    async def stream(
        self, request: GenerateRequest, adapter_ref: str | None = None
    ) -> AsyncIterator[list[GenerateChunk] | Failure]:
        """Yield chunks of the text in bundles; the last item is a Failure where the engine raised."""
        try:
            await self._hold(request.adapter, adapter_ref)
            async for chunks in paced(self._replica.engine.stream(request), PACE_S):
                yield chunks
        except Exception as error:  # noqa: BLE001 - raised where the request came from
            yield self._failure(error)

    async def run_chunk(
        self, work: ChunkWork, rows: pa.Table, adapters: Mapping[str, str]
    ) -> ChunkResult | Failure:
        """Turn a batch's chunk into outcomes, behind whoever is waiting for an answer.

        Args:
            adapters: those that came after the model was deployed, with their references.
        """
        try:
            for name, ref in adapters.items():
                with contextlib.suppress(RowError, UserError):  # rows that want it say so
                    await self._hold(name, ref)
            return await self._replica.run_chunk(work, rows)
        except Exception as error:  # noqa: BLE001 - raised where the chunk came from
            return self._failure(error)

    async def end_run(self, run: str, status: str) -> None:
        """Begin no more rows of a batch that is over."""
        await self._replica.end_run(run, status)

    async def about(self) -> About:
        """Return how it stands and what it is."""
        engine = self._replica.engine
        return About(
            self._replica.figures(),
            engine.capacity,
            engine.yardstick,
            engine.version,
            machine_name(),
            os.getpid(),
            tuple(self._held),
        )

    async def load_adapter(self, name: str, ref: str) -> Failure | None:
        """Hold one more adapter."""
        try:
            await self._hold(name, ref)
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            return self._failure(error)
        return None

    async def drop_adapter(self, name: str) -> Failure | None:
        """Let go of an adapter once nobody uses it; one that is not held is no error."""
        try:
            if self._held.pop(name, None) is not None:
                await self._replica.drop_adapter(name)
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            return self._failure(error)
        return None

    async def check_health(self) -> None:
        """Raise what makes this replica useless: Serve starts another in its place."""
        check_rebound()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the rows under way and waiting, and how many of them one replica should have: see scaling.py."""
        figures = self._replica.figures()
        room = self._served.rows_per_replica or self._replica.engine.capacity
        return {
            "rows_running": float(figures.running + figures.batch_rows),
            "rows_waiting": float(figures.waiting),
            "rows_per_replica": float(room),
        }

    async def _hold(self, name: str | None, ref: str | None) -> None:
        """Have an adapter loaded, if a request names one and says where it is. Raises RowError, UserError."""
        if name is None or ref is None or self._held.get(name) == ref:
            return
        async with self._loading.setdefault(name, asyncio.Lock()):
            if self._held.get(name) == ref:
                return
            if self._held.pop(name, None) is not None:  # what it named before was dropped meanwhile
                await self._replica.drop_adapter(name)
            model = self._replica.model.name
            found = await asyncio.to_thread(resolve_further_adapter, model, name, ref, self._storage)
            await self._replica.load_adapter(name, found)
            self._held[name] = ref
            await self._advertise(name)

    @serve.multiplexed(max_num_models_per_replica=-1)
    async def _advertise(self, name: str) -> str:
        """Tell Serve's routers that this replica holds an adapter; nothing is loaded by it."""
        return name

    def _failure(self, error: Exception) -> Failure:
        if not isinstance(error, RowError | EngineError):
            log.warning("model %s: %s", self._replica.model.name, type(error).__name__)
        return Failure.of(error)

    async def __del__(self) -> None:
        if hasattr(self, "_replica"):
            await self._replica.close()
