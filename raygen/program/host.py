"""The engine host: a job's engines and program in one process, fed with whole chunks from any thread."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raygen.data.sources.base import ERROR_CODE, ERROR_MESSAGE, ROW_ID, rows_of
from raygen.engines import engine_class, engine_facts
from raygen.engines.base import Engine
from raygen.engines.figures import ANSWERED, add_figures, usage_figures
from raygen.errors import EngineError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.program.job import Job
from raygen.program.kept import kept_columns
from raygen.program.machine import machine_name
from raygen.program.program import Program, Tally, unkept
from raygen.program.resolve import identity_of
from raygen.runs.commit import StoredObject, no_calls
from raygen.runs.outcome import SCHEMA_VERSION, Outcome, outcome_table
from raygen.runs.shelf import Bin, Shelf
from raygen.steps.row.record import RecordedRows
from raygen.usage import Usage
from raygen.version import __version__

# Of the first chunk, before all others share an engine's steps with it: a first result comes early. A few rows beside it make
# the steps little longer, and keep the engine from idling meanwhile.
HEAD_START_S = 20.0
BESIDE = 8  # of the lookahead, this part
SHELVING = 16  # chunks that store media at once
MOST_CHUNKS = 128  # at work at once in a host: each has a thread
UNFIT = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)


@dataclass(frozen=True, slots=True)
class ChunkResult:
    outcomes: pa.Table
    usage: Usage
    busy_s: float
    calls: dict[str, int] = field(default_factory=no_calls)  # reused, computed
    note: str | None = None  # worth telling the user
    objects: tuple[StoredObject, ...] = ()  # that hold its media, where they are not in the table


class EngineHost:
    """Runs a program over its engines in an event loop on a thread of its own.

    Args:
        config_hash: of the plan, for the lineage; kept: the kept columns and their pinned types.
        pooled: engines that stand for models elsewhere, by name; all other models are loaded here.
    """

    def __init__(
        self,
        job: Job,
        models: Mapping[str, ResolvedModel],
        config_hash: str,
        kept: Mapping[str, pa.DataType],
        pooled: Mapping[str, Engine] | None = None,
    ) -> None:
        self.job = job
        self._models = models
        self._config_hash = config_hash
        self._kept = kept
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="engine-loop", daemon=True)
        self._engines: dict[str, Engine] = {
            name: (pooled or {}).get(name) or engine_class(model.spec.engine)(model)
            for name, model in models.items()
        }
        kinds = {name: engine_facts(model.spec.engine) for name, model in models.items()}
        identities = {
            name: identity_of(model, kinds[name].deciding_options) for name, model in models.items()
        }
        self._program = Program(job, identities)
        self._entry = threading.Lock()
        self._closed = False
        self._chunks: set[asyncio.Task[Any]] = set()  # in work
        self._lookahead = lookahead(self._engines.values())
        self._head_start = asyncio.Event()  # is over
        self._begun = 0  # rows, before it was over
        if not any(kind.shares_steps for kind in kinds.values()):
            self._head_start.set()
        self._shelving = ThreadPoolExecutor(SHELVING, "shelf")
        self.tally = Tally()  # of all chunks, finished or not

    def start(self) -> None:
        """Load every model. Raises EngineError, ConfigError: a step lacks something on this machine."""
        self._program.require()
        self._thread.start()
        for engine in self._engines.values():
            self._call(engine.start())

    def lineage(self) -> dict[str, Any]:
        """Return what generates now: a pool may have got replicas on other machines."""
        return {
            "models": [
                {
                    "name": name,
                    "ref": model.spec.ref,
                    "digest": model.digest,
                    "adapter": ", ".join(f"{n}={a.digest}" for n, a in sorted(model.adapters.items()))
                    or None,
                    "engine": model.spec.engine,
                    "engine_version": self._engines[name].version,
                    "dtype": model.spec.dtype,
                }
                for name, model in self._models.items()
            ],
            "config_hash": self._config_hash,
            "run_seed": self.job.seed,
            "machine": machine_name(),
            "yardstick": self._yardstick(),
            "raygen_version": __version__,
            "schema_version": SCHEMA_VERSION,
            "ai_generated": True,
        }

    def _yardstick(self) -> str | None:
        """Of all engines that have one; with their names where there are several engines."""
        known = {name: engine.yardstick for name, engine in self._engines.items() if engine.yardstick}
        named = len(self._engines) > 1
        return "; ".join(f"{name}: {words}" if named else str(words) for name, words in known.items()) or None

    def run_chunk(
        self, rows: pa.Table, known: RecordedRows | None = None, shelf: Shelf | Bin | None = None
    ) -> ChunkResult:
        """Turn a chunk's rows into outcomes, in order. Blocks; call it from several threads at once.

        Args:
            known: what these rows were answered before, and need not be asked again.
            shelf: takes the rows' media as they are made; None: they stay in the outcomes.

        Raises:
            EngineError: a model broke. AttemptExpiredError, StorageError: of the shelf.
        """
        began_s = time.monotonic()
        row_ids = rows.column(ROW_ID).to_pylist()
        codes, messages = rows.column(ERROR_CODE), rows.column(ERROR_MESSAGE)
        errors = {}
        if codes.null_count < len(codes):
            for number, (code, message) in enumerate(
                zip(codes.to_pylist(), messages.to_pylist(), strict=True)
            ):
                if code is not None:
                    errors[number] = RowError(code, message or code, "read")
        inputs = list(rows_of(rows, self._program.columns))
        kept, misfits = kept_columns(rows, inputs, self.job.kept_as, self._kept)
        for number, why in misfits.items():
            errors.setdefault(number, RowError("kept_type", why, "keep"))
        tally = Tally()
        outcomes = self._call(self._run_rows(row_ids, inputs, errors, tally, known, shelf))
        objects = shelf.close() if shelf is not None else ()
        table = self._table(outcomes, kept)
        calls = {"reused": tally.reused, "computed": tally.calls}
        note = known.note if known is not None else None
        return ChunkResult(table, tally.usage, time.monotonic() - began_s, calls, note, objects)

    def gauges(self) -> dict[str, float]:
        """Totals and gauges of all engines, for the progress display."""
        found: dict[str, float] = {}
        for name, engine in self._engines.items():
            stats = engine.stats
            own = {
                f"{ANSWERED}{name}": stats.requests,
                "requests": stats.requests,
                **usage_figures(stats.usage),
                "in_flight": stats.in_flight,
                "waiting": stats.waiting,
                "limit": stats.limit,
                **stats.extra,
            }
            add_figures(found, own)
        for status, count in self.tally.rows.items():
            found[f"rows_{status}"] = count
        return found

    def others_are_answered(self, models: Iterable[str]) -> None:
        """Tell engines whose models have answered others."""
        for name in models:
            if name in self._engines:
                self._engines[name].others_are_answered()

    def close(self) -> None:
        """End the engines. Threads that still wait in `run_chunk`, or come there later, get a CancelledError."""
        with self._entry:
            self._closed = True
        self._submit(self._cancel_rows()).result()
        for engine in self._engines.values():
            self._submit(engine.close()).result()
        self._shelving.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    async def _cancel_rows(self) -> None:
        rows = list(self._chunks)
        for task in rows:
            task.cancel()
        await asyncio.gather(*rows, return_exceptions=True)

    def _call(self, work: Any) -> Any:
        with self._entry:
            if self._closed:  # a loop that has stopped would never answer
                work.close()
                raise CancelledError
            future = self._submit(work)
        try:
            return future.result()
        except (
            SystemExit
        ) as error:  # an engine of another package wanted to end this process, which is not its own
            raise EngineError(f"an engine called sys.exit({error})") from error

    def _serve(self) -> None:
        """Run the event loop until it is stopped: a `sys.exit()` in a task is that task's error, and ends nothing else."""
        while True:
            try:
                self._loop.run_forever()
                return
            except (SystemExit, KeyboardInterrupt):
                continue

    def _submit(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _run_rows(
        self,
        row_ids: list[str],
        rows: list[dict[str, Any]],
        errors: dict[int, RowError],
        tally: Tally,
        known: RecordedRows | None,
        shelf: Shelf | Bin | None,
    ) -> list[Outcome]:
        """Let a few workers walk over the rows; one task a row would cost more than a fast engine's answer."""
        own = asyncio.current_task()
        assert own is not None
        self._chunks.add(own)
        own.add_done_callback(self._chunks.discard)
        if not self._head_start.is_set():
            if not self._begun or self._begun + len(rows) <= self._lookahead // BESIDE:
                self._begun += len(rows)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._head_start.wait(), HEAD_START_S)
        outcomes: list[Any] = [None] * len(row_ids)
        numbers = iter(range(len(row_ids)))
        one_at_a_time = asyncio.Lock()

        async def shelve(number: int, outcome: Outcome) -> None:
            """Lay the media of a row away. Until then it keeps its worker: no more media are made than fit in memory."""
            samples = [*outcome.samples, *outcome.discarded]
            if shelf is not None and any(sample.get("media") is not None for sample in samples):
                async with one_at_a_time:
                    await asyncio.get_running_loop().run_in_executor(
                        self._shelving, shelf.take, number, row_ids[number], samples
                    )

        async def walk() -> None:
            for number in numbers:
                row_id = row_ids[number]
                record = known.of(row_id) if known is not None else None
                outcome = await self._program.run(
                    self._engines, row_id, rows[number], errors.get(number), tally, record
                )
                await shelve(number, outcome)
                outcomes[number] = outcome
                self.tally.rows[outcome.status] += 1

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(rows), self._lookahead)):
                    group.create_task(walk())
        except ExceptionGroup as problems:
            raise problems.exceptions[0] from None
        finally:
            self._head_start.set()
        return outcomes

    def _table(self, outcomes: list[Outcome], kept: Mapping[str, Any]) -> pa.Table:
        lineage = self.lineage()
        try:
            return outcome_table(outcomes, lineage, kept)
        except UNFIT:
            return outcome_table([_fitting(outcome, lineage) for outcome in outcomes], lineage, kept)


def _fitting(outcome: Outcome, lineage: dict[str, Any]) -> Outcome:
    """Return an outcome that can be stored: what cannot, such as a text that is no Unicode, fails its row alone."""
    try:
        outcome_table([outcome], lineage, {})
    except UNFIT as error:
        return unkept(outcome, "not_storable", f"what was made of it cannot be stored: {error}", "store")
    return outcome


def lookahead(engines: Iterable[Engine]) -> int:
    """Rows worth handing to engines at once: enough to refill them, and to order by length and prefix."""
    return 2 * max(engine.capacity for engine in engines)


def chunks_in_flight(
    job: Job, models: Mapping[str, ResolvedModel], pooled: Mapping[str, Engine] | None = None
) -> int:
    """How many chunks an engine host works on at once, so that the end of one never idles the engines.

    A chunk ends with its longest row: of the rows at work, about half are done and wait for that. So twice the lookahead.
    """
    if job.execution.chunks_in_flight is not None:
        return job.execution.chunks_in_flight
    rows = lookahead(
        (pooled or {}).get(name) or engine_class(model.spec.engine)(model) for name, model in models.items()
    )
    return max(2, min(MOST_CHUNKS, math.ceil(2 * rows / job.sink.chunk_rows) + 1))
