"""The stages: what the tasks and actors of the Ray execution do with a chunk. Read, generate, commit.

Each stage passes a chunk on as one row of its block: the chunk's table, as Arrow IPC bytes in one cell. Ray may bundle or
split blocks as it likes; a chunk stays whole.

Ray makes a lost block again by running its task again, and insists on as many blocks as before. So the number of blocks
does not depend on what was committed meanwhile: a chunk that needs no work any more travels on as a row that says so.
Errors of ours travel as rows too: through Ray they would lose their class (a constructor's) or get its advice added.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, replace
from functools import partial
from typing import Any

import orjson
import pyarrow as pa
import ray

from raygen.cluster.errors_as_text import pack_error, unpack_error
from raygen.cluster.ray_metrics import EngineMetrics
from raygen.data.sources.base import Range
from raygen.engines.figures import missing_lines
from raygen.errors import AttemptExpiredError, RaygenError, StorageError
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.pools.layout import Group, with_threads
from raygen.pipeline.pools.pool import stand_ins
from raygen.pipeline.pools.pooled import PoolLostError
from raygen.pipeline.work import Report, Todo, Work
from raygen.program.host import ChunkResult
from raygen.program.resolve import on_this_node
from raygen.runs.commit import Commit, StoredObject
from raygen.usage import Usage

PUSH_S = 1.0
# What a row is: a chunk as it was read, or with its outcomes; or a reason why there is nothing to do about it:
READ, GENERATED = "read", "generated"
DONE = "done"  # another attempt has committed it
STOPPED = "stopped"  # the run ends here for now
PROBLEM = "problem"  # not this time: another pass will do it
ERROR = "error"  # ends the run

_PARCEL = pa.schema(
    [
        ("todo", pa.binary()),
        ("state", pa.string()),
        ("message", pa.string()),  # a problem, or a note
        ("error", pa.string()),  # packed
        ("ids", pa.string()),
        ("table", pa.large_binary()),  # the rows, then the outcomes
        ("usage", pa.binary()),
        ("calls", pa.binary()),
        ("objects", pa.binary()),
        ("busy_s", pa.float64()),
        ("started_s", pa.float64()),
    ]
)


def pack_group(todos: list[Todo]) -> bytes:
    """Pack references to the chunks of one reading task."""
    return orjson.dumps([_pack_todo(todo) for todo in todos])


def read(batch: pa.Table, *, work: Work, board: Any) -> Iterator[pa.Table]:
    """Read groups of references into one block a chunk."""
    for group in batch.column("group"):
        todos = [_unpack_todo(each) for each in orjson.loads(group.as_py())]
        try:
            for parcel in work.read(todos):
                if ray.get(board.stopping.remote()):
                    return
                if parcel.rows is None:
                    yield _row(parcel.todo, PROBLEM, message=parcel.problem)
                else:
                    yield _row(parcel.todo, READ, ids=parcel.ids, table=_pack(parcel.rows))
        except RaygenError as error:
            yield _error_row(todos[0], error)


class Generate:
    """The engine actor: works on several chunks at once, tells the board about itself once a second."""

    def __init__(self, work: Work, board: Any, groups: Sequence[Group]) -> None:
        self._broken: RaygenError | None = None
        try:
            work = replace(work, models=_models_here(work, groups[0].threads))
        except RaygenError as error:
            self._broken = error
        self._work = work
        self._store = work.store()
        self._board = board
        self._stopping = False
        self._host = work.host(stand_ins(work.models, groups, board))
        try:
            self._host.start()
        except RaygenError as error:
            self._broken = self._broken or error
        self._name = ray.get_runtime_context().get_actor_id() or "engine"
        self._metrics = EngineMetrics(work.job.name)
        threading.Thread(target=self._push, daemon=True).start()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        yield from _each(batch, READ, self._generate)

    def _generate(self, todo: Todo, row: dict[str, Any], table: Any) -> pa.Table:
        if self._broken is not None:
            raise self._broken
        if self._stopping:
            return _row(todo, STOPPED)
        try:
            attempt = self._work.begin(self._store, todo)
            rows = _unpack(table)
            known = self._work.recorded(todo, rows) if attempt is not None else None
        except StorageError as error:
            return _row(todo, PROBLEM, message=str(error))
        if attempt is None:
            return _row(todo, DONE)
        try:
            result = self._work.generate(self._host, self._store, todo, attempt, rows, known)
        except (AttemptExpiredError, PoolLostError, StorageError) as error:
            return _row(todo, PROBLEM, message=str(error))
        figures = self._host.gauges()
        if missing_lines(figures):  # the run's end says it, which may come before the next post
            self._board.push.remote(self._name, figures)
        return _row(
            todo,
            GENERATED,
            ids=row["ids"],
            table=_pack(result.outcomes),
            message=result.note,
            usage=orjson.dumps(result.usage),
            calls=orjson.dumps(result.calls),
            objects=orjson.dumps(result.objects),
            busy_s=result.busy_s,
            started_s=attempt.started_s,
        )

    def _push(self) -> None:
        while True:
            figures = self._host.gauges()
            self._metrics.show(figures)
            with contextlib.suppress(ray.exceptions.RayError):  # the board is being started again
                self._stopping, answered = ray.get(self._board.push.remote(self._name, figures))
                self._host.others_are_answered(answered)
            time.sleep(PUSH_S)


def _models_here(work: Work, threads: int | None) -> dict[str, ResolvedModel]:
    """Return the models; those that live in engine hosts as they are found on this node. Raises EngineError."""
    return {
        name: model
        if model.spec.placement == "pooled"
        else with_threads(on_this_node(model, work.storage), threads)
        for name, model in work.models.items()
    }


def commit(batch: pa.Table, *, work: Work) -> pa.Table:
    """Outcomes -> data object and commit; passes on a small row, with a report in place of the outcomes."""
    return pa.concat_tables(_each(batch, GENERATED, partial(_commit, work)))


def _commit(work: Work, todo: Todo, row: dict[str, Any], table: Any) -> pa.Table:
    result = ChunkResult(
        _unpack(table),
        Usage(orjson.loads(row["usage"])),
        row["busy_s"],
        orjson.loads(row["calls"]),
        row["message"],
        tuple(StoredObject(**each) for each in orjson.loads(row["objects"])),
    )
    report = work.write(work.store(), row["ids"], todo, result, row["started_s"])
    if report.commit is None:
        return _row(todo, PROBLEM, message=report.problem)
    return _row(todo, DONE, message=report.note, table=orjson.dumps([report.commit, report.mine]))


def reports(batch: pa.Table) -> Iterator[Report]:
    """Yield what became of each chunk of a block that went through `commit`. Raises RaygenError: as a stage raised it."""
    for row in batch.to_pylist():
        chunk = _unpack_todo(orjson.loads(row["todo"])).chunk
        if row["state"] == ERROR:
            raise unpack_error(row["error"])
        if row["state"] == PROBLEM:
            yield Report(chunk, problem=row["message"])
        elif row["table"] is not None:
            commit, mine = orjson.loads(row["table"])
            yield Report(chunk, Commit.read(commit), mine, note=row["message"])
        elif row["state"] == DONE:
            yield Report(chunk)


def _each(
    batch: pa.Table, state: str, work: Callable[[Todo, dict[str, Any], Any], pa.Table]
) -> Iterator[pa.Table]:
    """Do `work` on the rows of this state, pass the others on. The table comes as a scalar, which is not copied."""
    for row, table in zip(batch.drop_columns("table").to_pylist(), batch.column("table"), strict=True):
        todo = _unpack_todo(orjson.loads(row.pop("todo")))
        if row["state"] != state:
            yield _row(todo, **row)
            continue
        try:
            yield work(todo, row, table)
        except RaygenError as error:
            yield _error_row(todo, error)


def _row(todo: Todo, state: str, **values: Any) -> pa.Table:
    packed = orjson.dumps(_pack_todo(todo))
    return pa.Table.from_pylist([{"todo": packed, "state": state, **values}], schema=_PARCEL)


def _error_row(todo: Todo, error: RaygenError) -> pa.Table:
    return _row(todo, ERROR, error=pack_error(error))


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpack(data: Any) -> pa.Table:
    return pa.ipc.open_stream(data.as_buffer()).read_all()


def _pack_todo(todo: Todo) -> list[Any]:
    return [todo.chunk, list(astuple(todo.range)), todo.only, todo.there]


def _unpack_todo(packed: list[Any]) -> Todo:
    chunk, place, only, there = packed
    return Todo(
        chunk,
        Range(*place),
        None if only is None else tuple(only),
        None if there is None else tuple(there),
    )
