"""The inline execution: the same work in this process, without Ray. For a dozen rows, for tests, for the crash matrix."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from raygen.errors import AttemptExpiredError, StorageError
from raygen.pipeline.work import Parcel, Report, Todo, Work
from raygen.program.host import chunks_in_flight


class InlineExecution:
    """Chunks through one engine host, several at once, each read, generated and committed by a thread."""

    def __init__(self, work: Work, todos: list[list[Todo]]) -> None:
        self._work = work
        self._todos = todos
        self._store = work.store()
        self._host = work.host()
        self._stop = threading.Event()

    def start(self) -> None:
        """Load the models. Raises EngineError."""
        self._host.start()

    def reports(self) -> Iterator[Report]:
        """Yield a report for each chunk, as they end. After `stop` the chunks in flight end, and no new one begins."""
        wide = chunks_in_flight(self._work.job, self._work.models)
        running: set[Future[Report]] = set()
        pool = ThreadPoolExecutor(wide, "chunk")
        try:
            for parcel in self._work.parcels(self._todos, self._stop.is_set):
                running.add(pool.submit(self._run, parcel))
                if len(running) >= wide:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (each.result() for each in ended)
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in ended)
        finally:
            # Whoever leaves early (Ctrl-C, a broken engine) does not wait for chunks that take minutes.
            pool.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        self._stop.set()

    def gauges(self) -> dict[str, Any]:
        return {**self._host.gauges(), "replicas": 1}

    def close(self) -> None:
        self._host.close()

    def _run(self, parcel: Parcel) -> Report:
        todo = parcel.todo
        if parcel.rows is None:
            return Report(todo.chunk, problem=parcel.problem)
        try:
            attempt = self._work.begin(self._store, todo)
            known = self._work.recorded(todo, parcel.rows) if attempt is not None else None
        except StorageError as error:
            return Report(todo.chunk, problem=str(error))
        if attempt is None:
            return Report(todo.chunk)
        try:
            result = self._work.generate(self._host, self._store, todo, attempt, parcel.rows, known)
        except (AttemptExpiredError, StorageError) as error:
            return Report(todo.chunk, problem=str(error))
        return self._work.write(self._store, parcel.ids, todo, result, attempt.started_s)
