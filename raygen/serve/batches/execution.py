"""The execution of batches: chunks to a served model, over its link, whole; each is read and committed here."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa

from raygen.data.sources.base import ERROR_CODE, ERROR_MESSAGE
from raygen.errors import AttemptExpiredError, EngineError, ReplicaLostError, StorageError, UnavailableError
from raygen.pipeline.work import Parcel, Report, Todo, Work, added
from raygen.program.host import ChunkResult
from raygen.runs.commit import no_calls
from raygen.serve.batches.turns import Turns
from raygen.serve.models.link import ChunkWork, Link
from raygen.usage import total

MOST_CHUNKS = 64  # of a batch, read and waiting for their turn, or under way
LOSSES = 2  # a chunk that was under way at so many deaths of replicas is done row by row
LONGEST_PAUSE_S = 10.0
LOOK_S = 0.2
STOPPED = "the session was stopped"


@dataclass(frozen=True)
class Way:
    """How chunks of a batch get to their model.

    Attributes:
        loop: the event loop of the link. rows_in_flight: worth having at the model at once.
        grace_s: how long chunks under way get once the session is stopped.
    """

    link: Link
    loop: asyncio.AbstractEventLoop
    turns: Turns
    rows_in_flight: Callable[[], int]
    grace_s: float
    tenant: str
    batch: str


class LinkExecution:
    """Chunks of one batch through the link to its model."""

    def __init__(self, work: Work, todos: list[list[Todo]], way: Way) -> None:
        self._work, self._todos, self._way = work, todos, way
        self._store = work.store()
        self._chunk_work = ChunkWork(work.run_uri, work.job, work.models, work.config_hash, work.kept)
        self._stop = threading.Event()
        self._stopped_s = math.inf
        self._asked: set[Future[ChunkResult]] = set()

    def start(self) -> None:
        """Do nothing: links are started by their service."""

    def reports(self) -> Iterator[Report]:
        """Yield a report for each chunk, as they end. After `stop` chunks under way end, if they do so in time."""
        rows = self._work.job.sink.chunk_rows
        wide = max(2, min(MOST_CHUNKS, math.ceil(self._way.rows_in_flight() / rows) + 1))
        running: set[Future[Report]] = set()
        pool = ThreadPoolExecutor(wide, "batch")
        try:
            for parcel in self._work.parcels(self._todos, self._stop.is_set):
                running.add(pool.submit(self._run, parcel))
                while len(running) >= wide and not self._late:
                    ended, running = wait(running, LOOK_S, FIRST_COMPLETED)
                    yield from (each.result() for each in ended)
            while running and not self._late:
                ended, running = wait(running, LOOK_S, FIRST_COMPLETED)
                yield from (each.result() for each in ended)
        finally:
            self._stop.set()
            for asked in list(self._asked):
                asked.cancel()
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _late(self) -> bool:
        return time.monotonic() > self._stopped_s + self._way.grace_s

    def stop(self) -> None:
        if not self._stop.is_set():
            self._stopped_s = time.monotonic()
        self._stop.set()

    def gauges(self) -> dict[str, Any]:
        return {"in_flight": len(self._asked), "replicas": 1}

    def close(self) -> None:
        self._stop.set()

    def _run(self, parcel: Parcel) -> Report:
        todo, rows, way = parcel.todo, parcel.rows, self._way
        if rows is None:
            return Report(todo.chunk, problem=parcel.problem)
        turn = way.turns.take(way.tenant, way.batch, len(rows), self._stop.is_set)
        if turn is None:
            return Report(todo.chunk, problem=STOPPED)
        try:
            if self._stop.is_set():  # while it waited for its turn
                return Report(todo.chunk, problem=STOPPED)
            attempt = self._work.begin(self._store, todo)
            if attempt is None:
                return Report(todo.chunk)
            result = self._asked_whole(rows)
        except (AttemptExpiredError, StorageError) as error:
            return Report(todo.chunk, problem=str(error))
        finally:
            way.turns.give(turn)
        if result is None and not self._stop.is_set():
            result = self._row_by_row(rows)
        if result is None:
            return Report(todo.chunk, problem=STOPPED)
        return self._work.write(self._store, parcel.ids, todo, result, attempt.started_s)

    def _asked_whole(self, rows: pa.Table) -> ChunkResult | None:
        """Ask the model; None: its replica died each time, or the session is stopped before anything was done.

        Raises:
            EngineError: the model is broken.
        """
        losses = 0
        while losses < LOSSES:
            try:
                return self._ask(rows)
            except ReplicaLostError as error:
                losses += 1
                pause_s = error.retry_after_s
            except UnavailableError as error:
                pause_s = error.retry_after_s
            except CancelledError:
                if self._stop.is_set():
                    return None
                raise EngineError("the link to the model was closed") from None
            if self._stop.wait(min(max(pause_s, 0.05), LONGEST_PAUSE_S)):
                return None
        return None

    def _ask(self, rows: pa.Table) -> ChunkResult:
        work = self._way.link.run_chunk(self._chunk_work, rows)
        try:
            asked = asyncio.run_coroutine_threadsafe(work, self._way.loop)
        except RuntimeError:  # the loop has gone
            work.close()
            raise CancelledError from None
        self._asked.add(asked)
        try:
            return asked.result()
        finally:
            self._asked.discard(asked)

    def _row_by_row(self, rows: pa.Table) -> ChunkResult | None:
        """Ask for each row alone, with nothing else of any batch under way. A row that takes its replica along has failed."""
        results = []
        for number in range(len(rows)):
            row = rows.slice(number, 1)
            turn = self._way.turns.take(self._way.tenant, self._way.batch, 1, self._stop.is_set, alone=True)
            if turn is None:
                return None
            try:
                result = self._asked_whole(row)
                if result is None and not self._stop.is_set():
                    result = self._asked_whole(_lost(row))
            finally:
                self._way.turns.give(turn)
            if result is None:
                return None
            results.append(result)
        return _together(results)


def _lost(row: pa.Table) -> pa.Table:
    """Return a row marked as one that cannot be done: it fails without being asked."""
    told = {
        ERROR_CODE: ReplicaLostError.code,
        ERROR_MESSAGE: f"the model's process died {LOSSES} times while it worked on this request alone",
    }
    for column, text in told.items():
        place = row.schema.get_field_index(column)
        row = row.set_column(place, row.schema.field(place), pa.array([text], row.schema.field(place).type))
    return row


def _together(results: list[ChunkResult]) -> ChunkResult:
    usage = total(result.usage for result in results)
    calls = reduce(added, (result.calls for result in results), no_calls())
    busy_s = sum(result.busy_s for result in results)
    return ChunkResult(pa.concat_tables([result.outcomes for result in results]), usage, busy_s, calls)
