"""Stepping: what engines share that compute on one worker thread, step by step, for all requests that are under way.

A request waits in the inbox until the next step takes it in; a step computes something for those that are in work, and the
event loop settles what has ended. The worker thread sleeps while there is nothing to do. An engine says what it loads, what a
step is, and what a step has settled.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from raygen.engines.base import Engine
from raygen.errors import EngineError, RowError
from raygen.models.resolved import ResolvedModel

T = TypeVar("T")
Entry = TypeVar("Entry")
Done = TypeVar("Done")


@dataclass(slots=True, eq=False)
class Pending:
    """A request inside an engine; `finished` is what its caller waits for."""

    finished: asyncio.Future[None]

    def settle(self, error: RowError | EngineError | None = None) -> None:
        """Let the caller go on, or raise an error there; only the first call counts."""
        if self.finished.done():
            return
        if error is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)
            # A caller that no longer waits, such as a stream that nobody reads on, must not be reported.
            self.finished.exception()


class SteppingEngine(Engine, ABC, Generic[Entry, Done]):
    """An engine that computes on a worker thread of its own, a step at a time.

    Type arguments: what the inbox holds (a request, or each of its samples), and what a step returns to be settled.
    """

    def __init__(self, model: ResolvedModel) -> None:
        super().__init__(model)
        self._inbox: deque[Entry] = deque()
        # Requests that somebody waits for.
        self._requests: set[Any] = set()
        self._broken: EngineError | None = EngineError(f"model {model.name!r}: the engine is not started")

    @abstractmethod
    def _load(self) -> Any:
        """Load the model, on the worker thread; what it returns goes to `_loaded`. Raises EngineError."""

    @abstractmethod
    def _loaded(self, loaded: Any) -> None:
        """Take over what `_load` returned, on the event loop."""

    @abstractmethod
    def _step(self, joining: list[Entry]) -> Done:
        """Take in what joins, and compute one step, on the worker thread. Any error ends the engine."""

    @abstractmethod
    def _settle(self, done: Done) -> bool:
        """Settle what a step has ended, on the event loop; return whether there may be more to compute."""

    def _unload(self) -> None:
        """Let go of what `_loaded` took over; also called of an engine that was never loaded, and twice."""

    async def start(self) -> None:
        """Load the model, and begin to step. Raises EngineError."""
        # One thread for all that computes: the event loop stays free, and torch's threads have one master.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"{self.model.spec.engine}-engine")
        try:
            loaded = await self._work(self._load)
        except BaseException:
            self._worker.shutdown(wait=False)
            raise
        self._loaded(loaded)
        self._broken = None
        self._wake = asyncio.Event()
        self._runner = asyncio.create_task(self._run())

    def _next(self) -> Done:
        """Take in what has come up to this moment, and step: who comes while the worker thread is about to begin is in time."""
        return self._step([self._inbox.popleft() for _ in range(len(self._inbox))])

    def _check_running(self) -> None:
        """Raise the EngineError that ended the engine, or that it is not started, unless it runs."""
        if self._broken is not None:
            raise self._broken

    async def _run(self) -> None:
        """Step as long as there is work; any error but a row's ends the engine."""
        try:
            while True:
                done = await self._work(self._next)
                if not self._settle(done) and not self._inbox:
                    self._wake.clear()
                    await self._wake.wait()
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
            self._end(EngineError(f"model {self.model.name!r} stopped: {type(error).__name__}: {error}"))

    def _end(self, reason: EngineError) -> None:
        """Let every request that is under way, and every later one, fail with this error."""
        self._broken = reason
        for pending in self._requests:
            pending.settle(reason)

    async def _work(self, function: Callable[[], T]) -> T:
        """Run a function on the worker thread, between two steps."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

    async def close(self) -> None:
        """End the worker thread and let go of the model; requests that are under way fail."""
        if self._broken is None:
            self._end(EngineError(f"model {self.model.name!r}: the engine is closed"))
            self._runner.cancel()
            with suppress(asyncio.CancelledError):
                await self._runner
        if hasattr(self, "_worker"):
            await asyncio.to_thread(self._worker.shutdown)
            self._unload()
