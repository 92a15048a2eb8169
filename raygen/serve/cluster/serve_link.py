"""The Serve link: a model whose replicas are those of a deployment."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from ray.serve.handle import DeploymentHandle

from raygen.engines import engine_facts
from raygen.engines.base import EngineStats
from raygen.engines.forwarding import ForwardingEngine
from raygen.engines.requests import GenerateChunk, GenerateRequest
from raygen.errors import ModelLoadingError, ReplicaLostError
from raygen.models.resolved import ResolvedModel
from raygen.program.resolve import resolve_further_adapter
from raygen.serve.cluster.calls import called, streamed
from raygen.serve.cluster.model import About
from raygen.serve.cluster.standing import Standing, summed
from raygen.serve.config import ServedModel, ServiceConfig
from raygen.serve.models.link import ChunkWork, Figures, Link
from raygen.serve.models.surviving import surviving

if TYPE_CHECKING:
    import pyarrow as pa

    from raygen.program.host import ChunkResult

log = logging.getLogger(__name__)

LOOK_S = 1.0  # how often the replicas are asked how they stand
LOOK_LIMIT_S = 2.0
FRESH_S = 0.2  # what was seen so lately is told again
RETRY_S = 2.0


class ServeEngine(ForwardingEngine):
    """Sends each request to a replica, which Serve chooses."""

    def __init__(self, link: ServeLink) -> None:
        super().__init__(link.model, EngineStats())
        self._link = link

    async def ask(self, verb: str, request: Any) -> Any:
        return await self._link.ask(verb, request)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        async with contextlib.aclosing(self._link.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    @property
    def capacity(self) -> int:
        """Of one replica."""
        return max((each.capacity for each in self._link.replicas), default=1)

    @property
    def yardstick(self) -> str | None:
        return self._link.replicas[0].yardstick if self._link.replicas else None

    @property
    def version(self) -> str:
        return "; ".join(sorted({each.version for each in self._link.replicas})) or super().version


class ServeLink(Link):
    """A model behind a deployment's handle.

    Args:
        handle: of the deployment of `ModelServer`s.
        standing: tells how the deployment stands while no replica does.
        config: says how many requests may wait while there is no replica, and how weights are read.
    """

    def __init__(
        self,
        name: str,
        model: ResolvedModel,
        served: ServedModel,
        handle: DeploymentHandle,
        standing: Standing,
        config: ServiceConfig,
    ) -> None:
        super().__init__(name, model)
        self.served = served
        self.engine = ServeEngine(self)
        self.replicas: list[About] = []
        self._handle, self._standing = handle, standing
        self._most_held, self._storage = config.gateway.held, config.storage
        self._stream = handle.options(stream=True, method_name="stream")
        self._ask = handle.options(method_name="ask")
        self._seen_s = -FRESH_S
        self._held = 0
        self._coming: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._adapters = {each: adapter.ref for each, adapter in model.adapters.items()}

    async def start(self) -> None:
        """Begin to look at the replicas; none is waited for."""
        if self._looking is None:
            await self._look()
            self._looking = _apart(self._keep_looking())

    async def ask(self, verb: str, request: Any) -> Any:
        """Ask a replica, and once more if it is lost. Raises RowError, EngineError, UnavailableError."""
        for last in (False, True):
            await self._there()
            try:
                return await called(
                    self.name, self._routed(self._ask, request), verb, request, self._ref(request)
                )
            except ReplicaLostError:
                await self._look()
                if last:
                    raise
        raise AssertionError

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """Yield chunks; if the replica is lost, from another that would have said the same. Raises what `ask` raises."""
        kinds: set[tuple[str | None, str]] = set()

        async def attempt() -> AsyncGenerator[GenerateChunk, None]:
            await self._there()
            again = bool(kinds)
            kinds.update(self._kinds())
            if again and len(kinds) > 1:
                raise ReplicaLostError(
                    f"model {self.name!r}: the replica was lost, and others compute otherwise"
                )
            handle = self._routed(self._stream, request)
            try:
                async with contextlib.aclosing(
                    streamed(self.name, handle, request, self._ref(request))
                ) as bundles:
                    async for bundle in bundles:
                        for chunk in bundle:
                            yield chunk
            except ReplicaLostError:
                await self._look()
                raise

        def resumable() -> bool:
            return engine_facts(self.model.spec.engine).replayable

        async with contextlib.aclosing(surviving(attempt, resumable)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def run_chunk(self, work: ChunkWork, rows: pa.Table) -> ChunkResult:
        await self._there()
        found: ChunkResult = await called(
            self.name, self._handle.options(method_name="run_chunk"), work, rows, self._later()
        )
        return found

    async def end_run(self, run: str, status: str) -> None:
        await self._all("end_run", run, status)

    async def figures(self) -> Figures:
        if time.monotonic() - self._seen_s > FRESH_S:
            await self._look()
        if self.replicas:
            return summed([each.figures for each in self.replicas], await self._standing.of(self.name))
        return await self._standing.of(self.name)

    async def load_adapter(self, name: str, ref: str) -> None:
        """Make an adapter known: replicas that there are load it now, others with the first request for it."""
        if self.replicas:
            for failure in await self._all("load_adapter", name, ref):
                if failure is not None:
                    raise failure.unpacked()
        else:  # nothing is woken for it: that the reference resolves has to do
            await asyncio.to_thread(resolve_further_adapter, self.name, name, ref, self._storage)
        self._adapters[name] = ref

    async def drop_adapter(self, name: str) -> None:
        self.engine.check_adapter(name if name not in self._adapters else None)
        del self._adapters[name]
        for failure in await self._all("drop_adapter", name):
            if failure is not None:
                raise failure.unpacked()

    @property
    def adapters(self) -> Mapping[str, str]:
        return self._adapters

    async def close(self, grace_s: float) -> None:
        """Look no more. Answers under way are the gateway's, and the replicas' own affair."""
        for task in (self._looking, self._coming):
            if task is not None:
                task.cancel()

    def _later(self) -> dict[str, str]:
        """Return the adapters that came after the model was deployed."""
        return {name: ref for name, ref in self._adapters.items() if name not in self.model.adapters}

    def _ref(self, request: Any) -> str | None:
        """Return where a replica finds the request's adapter, if that came after the model was deployed."""
        return self._later().get(getattr(request, "adapter", None) or "")

    def _routed(self, handle: DeploymentHandle, request: Any) -> DeploymentHandle:
        """Return the handle, preferring replicas that hold the request's adapter."""
        if self._ref(request) is None:
            return handle
        return handle.options(multiplexed_model_id=request.adapter)

    def _kinds(self) -> set[tuple[str | None, str]]:
        """Return how the replicas there are compute: where that is the same, so is what they answer."""
        return {(each.yardstick or each.machine, each.version) for each in self.replicas}

    async def _there(self) -> None:
        """Wait until there is a replica: at zero this makes one come. Raises ModelLoadingError, EngineError."""
        if self.replicas:
            return
        if self._held >= self._most_held:
            raise ModelLoadingError(
                f"model {self.name!r} is being loaded, and {self._held} requests wait for it already", RETRY_S
            )
        if self._coming is None or self._coming.done():
            self._coming = _apart(self._wake())
        self._held += 1
        try:
            await asyncio.wait_for(asyncio.shield(self._coming), self.served.cold_wait_s)
        except TimeoutError:
            raise ModelLoadingError(f"model {self.name!r} is being loaded", RETRY_S) from None
        finally:
            self._held -= 1

    async def _wake(self) -> None:
        """Ask for any replica: what waits at a handle makes Serve start one."""
        while not self.replicas:
            with contextlib.suppress(ReplicaLostError):
                await called(self.name, self._handle.options(method_name="ready"))
            await self._look()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """See which replicas there are. Nothing is woken by it."""
        self.replicas = [each for each in await self._all("about") if isinstance(each, About)]
        self._seen_s = time.monotonic()

    async def _all(self, method: str, *arguments: Any) -> list[Any]:
        """Return what all replicas say that there are; a lost one says nothing."""
        try:
            answers = await self._handle.broadcast(method, *arguments).results_async(
                timeout_s=LOOK_LIMIT_S if method == "about" else None, return_exceptions=True
            )
        except Exception as error:  # noqa: BLE001 - there is none, or whatever Ray raises
            log.debug("model %s: %s", self.name, type(error).__name__)
            return []
        return [each for each in answers if not isinstance(each, BaseException)]


def _apart(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task that outlives the request in which it starts: Serve ends a request's own calls with it."""
    return asyncio.create_task(work, context=contextvars.Context())
