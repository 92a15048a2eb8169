"""Stand-ins beside a replica's engine: one that bounds who waits for answers, one through which batches ask behind them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from raygen.engines.base import Engine
from raygen.engines.forwarding import EngineBeside, ForwardingEngine
from raygen.engines.requests import BATCH, GenerateChunk, GenerateRequest
from raygen.errors import BusyError, EngineError, UnaskedError
from raygen.wire.lines import unasked

SMOOTH = 0.05  # weight of a request that ends in the mean time between ends
LONGEST_RETRY_S = 60.0


class BoundedEngine(EngineBeside):
    """Takes requests of people who wait, and refuses those that would wait too long.

    The bound is where the queue is: in front of the engine, counted once, whoever asks.

    Args:
        engine: what answers.
        bound: how many requests may wait beyond those that the engine works on at once.

    Attributes:
        under_way: requests that were taken and are not answered yet.
        refused: how many were not taken.
    """

    def __init__(self, engine: Engine, bound: int) -> None:
        super().__init__(engine)
        self._bound = bound
        self._mean_s: float | None = None  # between two ends, lately
        self._ended_s: float | None = None
        self.under_way = 0
        self.refused = 0

    async def ask(self, verb: str, request: Any) -> Any:
        with self._place():
            return await super().ask(verb, request)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        with self._place():
            async for chunk in super().stream(request):
                yield chunk

    @property
    def waiting(self) -> int:
        """How many requests are beyond what the engine works on at once."""
        return max(0, self.under_way - self.capacity)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold a place. Raises BusyError."""
        if self.under_way >= self.capacity + self._bound:
            self.refused += 1
            raise BusyError(
                f"model {self.model.name!r} is busy: {self._bound} requests are waiting", self.retry_after_s
            )
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._note_end()

    def _note_end(self) -> None:
        now = time.monotonic()
        if self._ended_s is not None:
            gap = now - self._ended_s
            self._mean_s = gap if self._mean_s is None else (1 - SMOOTH) * self._mean_s + SMOOTH * gap
        self._ended_s = now if self.under_way else None  # an idle hour is no pace

    @property
    def retry_after_s(self) -> float:
        """When half of those who wait will have been answered, by the pace of late."""
        return min(LONGEST_RETRY_S, max(0.5, (self._mean_s or 0.1) * max(1, self.waiting) / 2))


class SharedEngine(EngineBeside):
    """Lets a batch have a part of an engine that knows no priorities of its own: the rest is free for people at any moment."""

    def __init__(self, engine: Engine, share: float) -> None:
        super().__init__(engine)
        self._slots = asyncio.Semaphore(max(1, int(engine.capacity * share)))
        self._held: set[int] = set()  # requests without a slot, by id()

    async def ask(self, verb: str, request: Any) -> Any:
        self._held.add(id(request))
        try:
            await self._slots.acquire()
        finally:
            self._held.discard(id(request))
        try:
            return await super().ask(verb, request)
        finally:
            self._slots.release()

    def has_begun(self, request: Any) -> bool:
        return id(request) not in self._held and super().has_begun(request)


class BatchEngine(ForwardingEngine):
    """Hands requests of a batch, from the event loop of its host, to the replica's engine on its own: behind all others."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine.model, engine.stats)
        self._engine, self._loop_of_engine = engine, loop
        self._asked: dict[int, tuple[Any, Future[Any]]] = {}  # by the request's id()
        self._over: str | None = None  # how the batch ended
        self._lock = threading.Lock()  # between the two loops

    async def ask(self, verb: str, request: Any) -> Any:
        """Return the answer. Raises what the engine raises; UnaskedError: the batch is over, and the engine had not begun."""
        request = replace(request, priority=BATCH)
        with self._lock:
            if (refusal := self._refusal()) is not None:
                raise refusal
            work = getattr(self._engine, verb)(request)
            try:
                future = asyncio.run_coroutine_threadsafe(work, self._loop_of_engine)
            except RuntimeError:  # the replica has gone
                work.close()
                raise EngineError(f"model {self.model.name!r}: the replica is closed") from None
            self._asked[id(request)] = request, future
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            refusal, own = self._refusal(), asyncio.current_task()
            if refusal is None or own is None or own.cancelling():  # the row itself is cancelled
                raise
            raise refusal from None
        finally:
            with self._lock:
                del self._asked[id(request)]

    def _refusal(self) -> UnaskedError | None:
        return None if self._over is None else UnaskedError(*unasked(self._over))

    def end(self, status: str) -> None:
        """Begin no more requests: the batch is over. To be called in the engine's event loop.

        Args:
            status: how it ended: cancelled or expired.
        """
        with self._lock:
            self._over = status
            asked = list(self._asked.values())
        for request, future in asked:
            if not self._engine.has_begun(request):
                future.cancel()

    @property
    def capacity(self) -> int:
        return self._engine.capacity

    @property
    def yardstick(self) -> str | None:
        return self._engine.yardstick

    @property
    def version(self) -> str:
        return self._engine.version
