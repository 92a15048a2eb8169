"""The local link: a model that is loaded in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from raygen.config.source import StorageOptions
from raygen.engines.forwarding import ForwardingEngine
from raygen.errors import EngineError, ModelLoadingError
from raygen.models.resolved import ResolvedModel
from raygen.program.resolve import resolve_further_adapter
from raygen.serve.config import ServedModel
from raygen.serve.models.link import ChunkWork, Figures, Link
from raygen.serve.models.replica import Replica

if TYPE_CHECKING:
    import pyarrow as pa

    from raygen.engines.requests import GenerateChunk, GenerateRequest
    from raygen.program.host import ChunkResult

LOADING_RETRY_S = 2.0


class LocalEngine(ForwardingEngine):
    """Waits for the model to be loaded, then asks the replica."""

    def __init__(self, link: LocalLink) -> None:
        super().__init__(link.model, link.replica.engine.stats)
        self._link = link

    async def ask(self, verb: str, request: Any) -> Any:
        await self._link.loaded()
        return await getattr(self._link.replica.engine, verb)(request)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        await self._link.loaded()
        async for chunk in self._link.replica.engine.stream(request):
            yield chunk

    @property
    def capacity(self) -> int:
        return self._link.replica.engine.capacity

    @property
    def yardstick(self) -> str | None:
        return self._link.replica.engine.yardstick

    @property
    def version(self) -> str:
        return self._link.replica.engine.version


class LocalLink(Link):
    """A replica in this process, loaded beside the first requests, which wait for it as long as the config says."""

    def __init__(
        self, name: str, model: ResolvedModel, served: ServedModel, storage: StorageOptions | None = None
    ) -> None:
        super().__init__(name, model)
        self.served = served
        self._storage = storage or StorageOptions()
        self.replica = Replica(model, served)
        self.engine = LocalEngine(self)
        self._adapters = {each: adapter.ref for each, adapter in model.adapters.items()}
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the model. Raises EngineError."""
        if self._loading is None:
            self._loading = asyncio.create_task(self.replica.start())
        await asyncio.shield(self._loading)

    async def loaded(self) -> None:
        """Wait until the model is loaded. Raises ModelLoadingError when that takes too long; EngineError."""
        if self._loading is None:
            raise EngineError(f"model {self.name!r} is not started")
        if not self._loading.done():
            try:
                await asyncio.wait_for(asyncio.shield(self._loading), self.served.cold_wait_s)
            except TimeoutError:
                raise ModelLoadingError(f"model {self.name!r} is being loaded", LOADING_RETRY_S) from None
        self._loading.result()

    async def figures(self) -> Figures:
        if self._loading is None:
            return Figures("cold", wanted=1)
        if not self._loading.done():
            return Figures("loading", wanted=1)
        if self._loading.cancelled() or self._loading.exception() is not None:
            return Figures("broken", wanted=1)
        return self.replica.figures()

    async def run_chunk(self, work: ChunkWork, rows: pa.Table) -> ChunkResult:
        await self.loaded()
        return await self.replica.run_chunk(work, rows)

    async def end_run(self, run: str, status: str) -> None:
        await self.replica.end_run(run, status)

    async def load_adapter(self, name: str, ref: str) -> None:
        await self.loaded()
        found = await asyncio.to_thread(resolve_further_adapter, self.name, name, ref, self._storage)
        await self.replica.load_adapter(name, found)
        self._adapters[name] = ref

    async def drop_adapter(self, name: str) -> None:
        await self.loaded()
        await self.replica.drop_adapter(name)
        self._adapters.pop(name, None)

    @property
    def adapters(self) -> Mapping[str, str]:
        return self._adapters

    async def close(self, grace_s: float) -> None:
        if self._loading is None:
            return
        if not self._loading.done():
            self._loading.cancel()
            return
        await self.replica.close(grace_s)
