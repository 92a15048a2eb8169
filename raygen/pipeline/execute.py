"""The Ray execution: a run's chunks through Ray Data. The only importer of ray.data.

    groups of chunk references -> read (tasks) -> generate (autoscaling actor pool) -> commit (tasks) -> reports

Each stage passes a chunk on as one row of its block: the chunk's table, as Arrow IPC bytes in one cell. Ray may bundle or
split blocks as it likes; a chunk stays whole. Killed actors and lost nodes are Ray's to replace; the chunk is then simply
done again, and the commit decides which attempt counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson
import pyarrow as pa
import ray
import ray.data

from raygen.data.base import Range
from raygen.engines import engine_class
from raygen.pipeline.board import Board, board_handle
from raygen.pipeline.host import ChunkResult, chunks_in_flight
from raygen.pipeline.machine import usable_cores
from raygen.pipeline.work import Report, Todo, Work
from raygen.runs.commit import Commit

MAX_GROUPS = 512  # every group is an object in Ray's store before the first row is read
PUSH_S = 1.0


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpack(data: Any) -> pa.Table:
    return pa.ipc.open_stream(data.as_buffer()).read_all()


def _pack_todo(todo: Todo) -> list[Any]:
    r = todo.range
    return [todo.chunk, [r.file, r.start, r.stop, r.rows, r.first_row], todo.only]


def _unpack_todo(packed: list[Any]) -> Todo:
    chunk, place, only = packed
    return Todo(chunk, Range(*place), None if only is None else tuple(only))


_PARCEL = pa.schema(
    [
        ("todo", pa.binary()),
        ("ids", pa.string()),
        ("table", pa.large_binary()),
        ("problem", pa.string()),
        ("tokens", pa.binary()),
        ("busy_s", pa.float64()),
        ("started_s", pa.float64()),
    ]
)


def _row(**values: Any) -> pa.Table:
    return pa.Table.from_pylist([values], schema=_PARCEL)


def _read(batch: pa.Table, *, work: Work, board: str) -> Iterator[pa.Table]:
    """Groups of references -> one block a chunk."""
    watch = board_handle(board)
    for group in batch.column("group"):
        todos = [_unpack_todo(each) for each in orjson.loads(group.as_py())]
        for parcel in work.read(todos):
            if ray.get(watch.stopping.remote()):
                return
            table = None if parcel.rows is None else _pack(parcel.rows)
            yield _row(
                todo=orjson.dumps(_pack_todo(parcel.todo)),
                ids=parcel.ids,
                table=table,
                problem=parcel.problem,
            )


class _Generate:
    """The engine actor: works on several chunks at once, tells the board about itself once a second."""

    def __init__(self, work: Work, board: str) -> None:
        self._work = work
        self._store = work.store()
        self._board = board_handle(board)
        self._stopping = False
        self._host = work.host()
        self._host.start()
        self._name = ray.get_runtime_context().get_actor_id() or "engine"
        threading.Thread(target=self._push, daemon=True).start()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for number in range(batch.num_rows):
            todo_bytes = batch.column("todo")[number].as_py()
            todo = _unpack_todo(orjson.loads(todo_bytes))
            ids, problem = batch.column("ids")[number].as_py(), batch.column("problem")[number].as_py()
            if problem is not None:
                yield _row(todo=todo_bytes, problem=problem)
                continue
            attempt = None if self._stopping else self._work.begin(self._store, todo)
            if attempt is None:
                continue
            result = self._host.run_chunk(_unpack(batch.column("table")[number]))
            yield _row(
                todo=todo_bytes,
                ids=ids,
                table=_pack(result.outcomes),
                tokens=orjson.dumps(result.tokens),
                busy_s=result.busy_s,
                started_s=attempt.started_s,
            )

    def _push(self) -> None:
        while True:
            self._stopping = ray.get(self._board.push.remote(self._name, self._host.gauges()))
            time.sleep(PUSH_S)


def _commit(batch: pa.Table, *, work: Work) -> pa.Table:
    """Outcomes -> data object and commit; passes on a small report."""
    store = work.store()
    reports = []
    for row in range(batch.num_rows):
        todo = _unpack_todo(orjson.loads(batch.column("todo")[row].as_py()))
        problem = batch.column("problem")[row].as_py()
        if problem is None:
            tokens = orjson.loads(batch.column("tokens")[row].as_py())
            result = ChunkResult(
                _unpack(batch.column("table")[row]), tokens, batch.column("busy_s")[row].as_py()
            )
            started_s = batch.column("started_s")[row].as_py()
            report = work.write(store, batch.column("ids")[row].as_py(), todo, result, started_s)
        else:
            report = Report(todo.chunk, problem=problem)
        reports.append(orjson.dumps(report))
    return pa.table({"report": pa.array(reports, pa.binary())})


def _report(data: bytes) -> Report:
    found = orjson.loads(data)
    commit = None if found["commit"] is None else Commit(**found["commit"])
    return Report(found["chunk"], commit, found["mine"], found["problem"])


class RayExecution:
    """Lays a run's work over Ray Data. Needs a connected Ray (`cluster.connect`)."""

    def __init__(self, work: Work, todos: list[list[Todo]]) -> None:
        self._work = work
        self._todos = todos
        self._board_name = f"raygen-board-{work.plan[:12]}-{time.time_ns()}"
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(Board).options(name=self._board_name).remote()

    def start(self) -> None:
        ray.get(self._board.stopping.remote())

    def reports(self) -> Iterator[Report]:
        """Yield a report for each chunk, as they are committed. Exceptions of the stages come out as they were raised."""
        work = self._work
        execution = work.job.execution
        low, high = execution.replicas
        context = ray.data.DataContext.get_current()
        context.target_max_block_size = 1  # every chunk a block of its own: they flow on one by one
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1 if execution.attempt_limit_s > 1800 else None
        wide = chunks_in_flight(work.job, work.models)
        groups = [orjson.dumps([_pack_todo(todo) for todo in group]) for group in self._todos]
        references = ray.data.from_items(
            [{"group": group} for group in groups], override_num_blocks=len(groups)
        )
        reports = (
            references.map_batches(
                partial(_read, work=work, board=self._board_name),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=execution.cpus_per_read,
            )
            .map_batches(
                _Generate,
                fn_constructor_kwargs={"work": work, "board": self._board_name},
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    min_size=low,
                    max_size=high,
                    max_tasks_in_flight_per_actor=2 * wide,
                    max_concurrent_calls_per_actor=wide,
                    enable_true_multi_threading=True,
                ),
                num_cpus=self._cpus_per_replica(),
                num_gpus=execution.gpus_per_replica or None,
            )
            .map_batches(
                partial(_commit, work=work),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=execution.cpus_per_write,
            )
        )
        for batch in reports.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for data in batch.column("report"):
                yield _report(data.as_py())

    def stop(self) -> None:
        ray.get(self._board.stop.remote())

    def gauges(self) -> dict[str, Any]:
        found: dict[str, Any] = ray.get(self._board.gauges.remote())
        return found

    def close(self) -> None:
        ray.kill(self._board)

    def _cpus_per_replica(self) -> float:
        if self._work.job.execution.cpus_per_replica is not None:
            return self._work.job.execution.cpus_per_replica
        gpus = self._work.job.execution.gpus_per_replica
        return sum(engine_class(m.spec.engine).cpus(usable_cores(), gpus) for m in self._work.models.values())
