"""Work: what every worker of a run needs to know, and the two ends of a chunk's way: reading it and committing it.

The same functions serve the Ray and the inline execution. A chunk travels as one `Parcel`, whole, so that nothing that
splits or bundles blocks can lose or double a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from raygen.config.source import StorageOptions
from raygen.data.sources import open_source
from raygen.data.sources.base import ROW_ID, InputFile, Range
from raygen.engines.base import Engine
from raygen.errors import (
    AttemptExpiredError,
    ChunkIntegrityError,
    CorruptDataError,
    KeyNotFoundError,
    StorageError,
)
from raygen.models.resolved import ResolvedModel
from raygen.program.host import ChunkResult, EngineHost
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.runs.commit import Attempt, Commit, chunk_name, commit_chunk, digest_of_ids, read_data
from raygen.runs.manifest import MANIFEST_KEY
from raygen.runs.media import carried, read_media
from raygen.runs.overlap import Overlap
from raygen.runs.plan import Plan
from raygen.runs.reuse import Reuse
from raygen.runs.shelf import Shelf
from raygen.steps.row.record import RecordedRows, recorded_columns
from raygen.storage import Store, open_store


@dataclass(frozen=True)
class Todo:
    """One chunk to do.

    `only` are the positions of its rows that a retry generates again; `there` the chunks of the reused run that hold its
    rows, None: the chunk of its own number.
    """

    chunk: int
    range: Range
    only: tuple[int, ...] | None = None
    there: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Parcel:
    """A chunk's rows on their way, or the reason why they could not be read this time."""

    todo: Todo
    rows: pa.Table | None
    ids: str = ""  # digest_of_ids, as read
    problem: str | None = None


@dataclass(frozen=True)
class Report:
    """What became of one attempt at a chunk. Exactly one of commit and problem is set, or neither: it was done already."""

    chunk: int
    commit: Commit | None = None
    mine: bool = False
    problem: str | None = None
    note: str | None = None  # worth telling the user


@dataclass(frozen=True)
class Work:
    """Everything that a worker needs, small enough to send with each task."""

    job: Job
    models: dict[str, ResolvedModel]
    inputs: list[InputFile]
    columns: list[str]  # of the source that the program reads or passes through, and paths into them
    kept: dict[str, pa.DataType]
    config_hash: str
    plan: str  # Plan.digest
    attempt_limit_s: float
    run_uri: str
    storage: StorageOptions
    single_committer: bool
    carried: dict[int, tuple[Store, Commit]] = field(default_factory=dict)  # a retry: the chunks as they are
    reuse: Reuse | None = None
    until_enough: bool = False  # may the run be finished while chunks are left?

    @classmethod
    def of(
        cls,
        job: Job,
        plan: Plan,
        models: dict[str, ResolvedModel],
        store: Store,
        *,
        single_committer: bool,
        carried: dict[int, tuple[Store, Commit]] | None = None,
        reuse: Reuse | None = None,
    ) -> Work:
        return cls(
            job, models, plan.inputs, Program(job).columns, plan.kept, plan.config_hash, plan.digest,
            plan.attempt_limit_s, store.uri, job.source.storage, single_committer, carried or {}, reuse, plan.target is not None,
        )  # fmt: skip

    def store(self) -> Store:
        return open_store(self.run_uri, self.storage)

    def host(self, pooled: Mapping[str, Engine] | None = None) -> EngineHost:
        """Return a host with the job's engines and program, not started yet.

        Args:
            pooled: what stands for the models that live in pools; all others live in the host.
        """
        return EngineHost(self.job, self.models, self.config_hash, self.kept, pooled)

    def read(self, todos: Sequence[Todo]) -> Iterator[Parcel]:
        """Read chunks of one group, in order. A store that does not answer makes a problem, for a later attempt.

        Raises:
            SourceError: an input is not the planned one any more.
        """
        done = 0
        try:
            tables = open_source(self.job.source).read(
                self.inputs, [todo.range for todo in todos], self.columns
            )
            for todo, rows in zip(todos, tables, strict=True):
                if rows.num_rows != todo.range.rows:
                    raise ChunkIntegrityError(
                        f"chunk {todo.chunk}: {rows.num_rows} rows were read where the plan has {todo.range.rows}"
                    )
                if todo.only is not None:
                    rows = rows.take(list(todo.only))
                done += 1
                yield Parcel(todo, rows, digest_of_ids(rows.column(ROW_ID)))
        except StorageError as error:
            for todo in todos[done:]:
                yield Parcel(todo, None, problem=str(error))

    def parcels(self, groups: Sequence[Sequence[Todo]], stopped: Callable[[], bool]) -> Iterator[Parcel]:
        """Read groups of chunks, in order, until it is stopped. Raises SourceError."""
        for group in groups:
            if stopped():
                return
            for parcel in self.read(group):
                if stopped():
                    return
                yield parcel

    def begin(self, store: Store, todo: Todo) -> Attempt | None:
        """Begin an attempt; None when another attempt has already committed the chunk, or nobody needs it any more."""
        if store.exists(f"commits/{chunk_name(todo.chunk)}.json"):
            return None
        if self.until_enough and store.exists(MANIFEST_KEY):
            return None
        return Attempt(self.attempt_limit_s)

    def generate(
        self,
        host: EngineHost,
        store: Store,
        todo: Todo,
        attempt: Attempt,
        rows: pa.Table,
        known: RecordedRows | None,
    ) -> ChunkResult:
        """Turn a chunk's rows into outcomes; their media are stored as they are made, under this attempt's names.

        Raises:
            EngineError: a model broke. AttemptExpiredError, StorageError: media could not be stored; a later attempt may.
        """
        if not self.renders:
            return host.run_chunk(rows, known)
        with Shelf(store, todo.chunk, attempt, self.job.sink) as shelf:
            return host.run_chunk(rows, known, shelf)

    @property
    def renders(self) -> bool:
        """Whether the job's samples are media."""
        return any(step.kind.makes_media(step.config) for step in self.job.steps)

    def recorded(self, todo: Todo, rows: pa.Table) -> RecordedRows | None:
        """Return what a chunk's rows were answered before: in the run that this one reuses, or before they failed.

        A record that is damaged or gone costs work, and is no reason to stop. No more than one chunk of the other run, and
        what it holds of these rows, is in memory at once.

        Raises:
            StorageError: the store does not answer; to ask it again is cheaper than to compute anew.
        """
        if todo.only is not None:
            try:
                place = self.carried[todo.chunk]
                return RecordedRows([read_data(*place)], media=[partial(read_media, *place)])
            except (CorruptDataError, KeyNotFoundError) as error:
                return RecordedRows(note=f"nothing of chunk {todo.chunk} is reused: {error}")
        if self.reuse is None:
            return None
        found, media, notes = [], [], []
        for chunk in (todo.chunk,) if todo.there is None else todo.there:
            try:
                there = self.reuse.place(chunk)
                outcomes = None if there is None else read_data(*there)
            except (CorruptDataError, KeyNotFoundError) as error:
                notes.append(f"nothing of chunk {chunk} is reused: {error}")
                continue
            if outcomes is not None and there is not None:
                media.append(partial(read_media, *there))
                wanted = pc.is_in(outcomes.column("row_id"), rows.column(ROW_ID).combine_chunks())
                found.append(recorded_columns(outcomes.filter(wanted)))
        return RecordedRows(found, "; ".join(notes) or None, media)

    def write(
        self, store: Store, parcel_ids: str, todo: Todo, result: ChunkResult, started_s: float
    ) -> Report:
        """Commit a chunk's outcomes under an attempt of their own.

        Every execution of this function writes under its own name, so that a task which Ray runs twice cannot mix two
        encodings of one object. Raises ChunkIntegrityError.
        """
        attempt = Attempt(self.attempt_limit_s, started_s)
        table, ids, rows, reread = result.outcomes, parcel_ids, todo.range.rows, 0
        usage, calls, objects = result.usage, result.calls, result.objects
        try:
            if todo.only is not None:
                before, table = self._merge(todo, result, parcel_ids)
                ids, reread = before.ids, rows - len(todo.only)
                objects = carried(before.objects, self._prefix_of(todo.chunk)) + objects
                usage, calls = before.usage + usage, added(before.calls, calls)
            commit, mine = commit_chunk(
                store,
                todo.chunk,
                table,
                ids=ids,
                rows=rows,
                attempt=attempt,
                plan=self.plan,
                usage=usage,
                busy_s=result.busy_s,
                reread=reread,
                calls=calls,
                objects=objects,
                commit_now=not self.single_committer,
            )
        except (AttemptExpiredError, StorageError, CorruptDataError) as error:
            return Report(todo.chunk, problem=str(error))
        return Report(todo.chunk, commit, mine, note=result.note)

    def _prefix_of(self, chunk: int) -> str:
        """Return where a retry's chunk stands so far, from the top of its run: `retries/0001/`, or empty."""
        top = self.run_uri.rpartition("/retries/")[0]
        below = self.carried[chunk][0].uri.removeprefix(top).strip("/")
        return f"{below}/" if below else ""

    def _merge(self, todo: Todo, result: ChunkResult, ids: str) -> tuple[Commit, pa.Table]:
        """Put a retry's new outcomes in their places among the chunk's standing ones."""
        assert todo.only is not None
        store, before = self.carried[todo.chunk]
        if digest_of_ids(result.outcomes.column("row_id")) != ids:
            raise ChunkIntegrityError(
                f"chunk {todo.chunk}: the retried rows came out as other rows; not committed"
            )
        standing = read_data(store, before)
        order = list(range(standing.num_rows))
        for place, position in enumerate(todo.only):
            order[position] = standing.num_rows + place
        merged = pa.concat_tables([standing, result.outcomes]).take(order)
        return before, merged


def added(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    """Return the sums of two commits' calls, kind by kind."""
    return {kind: before[kind] + now[kind] for kind in before}


def todos_of(plan: Plan, done: set[int], overlap: Overlap | None = None) -> list[Todo]:
    """Return what is left to do, in the order of the plan."""
    scope = plan.scope
    return [
        Todo(
            chunk,
            plan.chunks[chunk],
            scope.positions(chunk),
            None if overlap is None else overlap.of(chunk),
        )
        for chunk in scope.chunks
        if chunk not in done
    ]


def grouped(job: Job, plan: Plan, todos: list[Todo], groups: int) -> list[list[Todo]]:
    """Cut the work into about `groups` reading tasks; the format decides what may not be cut apart."""
    size = max(1, -(-len(todos) // groups))
    by_range = {todo.range: todo for todo in todos}
    found = open_source(job.source).group(plan.inputs, [todo.range for todo in todos], size)
    return [[by_range[each] for each in group] for group in found]
