"""A replica: one loaded engine, for people who wait and for batches. Plain Python: it knows no Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from raygen.engines import engine_class
from raygen.engines.base import Engine
from raygen.engines.figures import usage_figures
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from raygen.program.host import ChunkResult, EngineHost
from raygen.serve.config import ServedModel
from raygen.serve.models.bounded import BatchEngine, BoundedEngine, SharedEngine
from raygen.serve.models.link import ChunkWork, Figures

CHUNK_THREADS = 64  # chunks at work at once
HOST_IDLE_S = 60.0  # a batch's host ends when no chunk came for so long


@dataclass(eq=False)
class Host:
    """The host of one batch's program, and the stand-ins through which it asks."""

    host: EngineHost
    engines: Sequence[BatchEngine]
    chunks: int = 0
    seen_s: float = field(default_factory=time.monotonic)


class Replica:
    """One model, loaded in this process under the event loop that called `start`.

    Attributes:
        engine: what answers people: bounded, refusing with BusyError.
    """

    def __init__(self, model: ResolvedModel, served: ServedModel, engine: Engine | None = None) -> None:
        self.model, self.served = model, served
        self._engine: Engine = engine or engine_class(model.spec.engine)(model)
        self._engine.batch_share = served.batch_share
        self.engine = BoundedEngine(self._engine, served.bound)
        self._behind = self._engine  # as batches ask it
        self._hosts: dict[str, Host] = {}
        self._threads = ThreadPoolExecutor(CHUNK_THREADS, "batch-chunk")
        self._hosting = asyncio.Lock()
        self._rows = 0

    async def start(self) -> None:
        """Load the model. Raises EngineError."""
        self._loop = asyncio.get_running_loop()
        await self._engine.start()
        if not self._engine.orders_by_priority:
            self._behind = SharedEngine(self._engine, self.served.batch_share)

    async def run_chunk(self, work: ChunkWork, rows: pa.Table) -> ChunkResult:
        """Turn a batch's chunk into outcomes. Raises EngineError."""
        loop = asyncio.get_running_loop()
        await self._end_idle()
        async with self._hosting:
            kept = self._hosts.get(work.run)
            if kept is None:
                kept = self._hosts[work.run] = await loop.run_in_executor(self._threads, self._host, work)
            kept.chunks += 1
        self._rows += len(rows)
        try:
            return await loop.run_in_executor(self._threads, kept.host.run_chunk, rows)
        finally:
            self._rows -= len(rows)
            kept.chunks -= 1
            kept.seen_s = time.monotonic()

    async def end_run(self, run: str, status: str) -> None:
        """Begin no more rows of a batch's run; see Link."""
        async with self._hosting:
            kept = self._hosts.get(run)
        if kept is not None:
            for engine in kept.engines:
                engine.end(status)

    def _host(self, work: ChunkWork) -> Host:
        stand_ins = {name: BatchEngine(self._behind, self._loop) for name in work.models}
        host = EngineHost(work.job, work.models, work.config_hash, work.kept, stand_ins)
        host.start()
        return Host(host, list(stand_ins.values()))

    async def _end_idle(self) -> None:
        late = time.monotonic() - HOST_IDLE_S
        # Taken out at once: while one is closed, other chunks come by here, too.
        idle = [run for run, each in self._hosts.items() if not each.chunks and each.seen_s < late]
        for ended in [self._hosts.pop(run) for run in idle]:
            await asyncio.get_running_loop().run_in_executor(self._threads, ended.host.close)

    async def load_adapter(self, name: str, adapter: ResolvedAdapter) -> None:
        """Hold one more adapter. Raises RowError, UserError."""
        await self._engine.load_adapter(name, adapter)

    async def drop_adapter(self, name: str) -> None:
        """Let go of an adapter once nobody uses it. Raises RowError `unknown_adapter`."""
        await self._engine.drop_adapter(name)

    def figures(self) -> Figures:
        """Return how it stands."""
        stats = self._engine.stats
        totals = {"requests": stats.requests, **usage_figures(stats.usage), **stats.extra}
        totals["refused"] = self.engine.refused
        running = self.engine.under_way - self.engine.waiting
        return Figures("ready", 1, 1, running, self.engine.waiting, self._rows, totals)

    async def close(self, grace_s: float = 0.0) -> None:
        """End: let answers under way end for this long."""
        until = time.monotonic() + grace_s
        while self.engine.under_way and time.monotonic() < until:
            await asyncio.sleep(0.05)
        hosts, self._hosts = list(self._hosts.values()), {}
        for each in hosts:
            await asyncio.get_running_loop().run_in_executor(self._threads, each.host.close)
        await self._engine.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
