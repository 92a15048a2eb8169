"""The commit of a chunk: data first, then the small object whose creation makes the data count.

The linearization point is `commits/<chunk>.json`, created if absent and never changed. Everything before it may be
repeated, by this process or another: at worst an unreferenced data object stays behind, for `collect` to remove.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raygen.config.base import is_number
from raygen.errors import (
    AttemptExpiredError,
    ChunkIntegrityError,
    CorruptDataError,
    UnknownResultError,
)
from raygen.runs.outcome import STATUSES, UNASKED, lifted
from raygen.storage import Store
from raygen.storage.create import WRITE_TRIES, create_once, pause_s
from raygen.storage.sealed import read_sealed, seal, unseal
from raygen.usage import Usage, with_usage

COMMITS, DATA = "commits/", "data/"
_REMEDY = "remove it and run again: its chunk is then done again"


def no_calls() -> dict[str, int]:
    """Return counts of calls to engines: those that another run's record answered, and those that were computed."""
    return {"reused": 0, "computed": 0}


def chunk_name(chunk: int) -> str:
    """Return the name of a chunk, by its number, in the keys of objects."""
    return f"{chunk:08d}"


def chunk_of(key: str) -> int | None:
    """Return the chunk that a table or an archive is of, by its key; None for a file that is not ours."""
    chunk, dash, _ = key.removeprefix(DATA).partition("-")
    return int(chunk) if dash and key.endswith((".parquet", ".tar")) and is_number(chunk) else None


@dataclass(slots=True)
class Attempt:
    """One try at a chunk. It ends itself at its limit, so that nobody writes long after the run has moved on."""

    limit_s: float
    started_s: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])

    def check(self, now_s: float | None = None) -> None:
        """Refuse to go on too late. Raises AttemptExpiredError: this attempt must not write any more."""
        age_s = (time.time() if now_s is None else now_s) - self.started_s
        if age_s > self.limit_s:
            raise AttemptExpiredError(
                f"this attempt is {age_s:,.0f} s old; execution.attempt_limit_s allows {self.limit_s:,.0f}"
            )


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that a commit names beside its table, such as an archive of media."""

    key: str
    size_bytes: int
    sha256: str
    kind: str
    # None: the run's own; else where the earlier run lies, from the run's top.
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """What makes a chunk's data count: where it is, how to check it, and what is in it."""

    chunk: int
    data: str  # key of the data object
    size_bytes: int
    sha256: str
    rows: int
    ids: str  # digest_of_ids of the chunk's rows
    counts: dict[str, int]  # rows by status
    usage: Usage
    attempt: str
    plan: str  # Plan.digest
    committed_s: float  # seconds since the epoch, by the committer's clock
    busy_s: float  # how long the chunk was being generated
    reread: int = 0  # rows of a retry that were carried over, not generated
    calls: dict[str, int] = field(default_factory=no_calls)
    objects: tuple[StoredObject, ...] = ()  # that hold its media, where they are not in the table
    unasked: int = 0  # of the failed rows, those that were never asked: see UNASKED

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Commit:
        """Return the commit that a record holds, whichever version wrote it."""
        objects = tuple(StoredObject(**each) for each in record.get("objects", ()))
        return cls(**{**with_usage(record), "objects": objects})

    def record(self) -> dict[str, Any]:
        """Return it as it is stored: one without other objects and unasked rows is what it was before there were any."""
        found = asdict(self)
        for name in ("objects", "unasked"):
            if not found[name]:
                del found[name]
        return found

    @property
    def keys(self) -> list[str]:
        """The keys of all data that it names in its own run."""
        return [self.data, *(held.key for held in self.objects if held.run is None)]

    @property
    def key(self) -> str:
        return f"{COMMITS}{chunk_name(self.chunk)}.json"


def digest_of_ids(row_ids: pa.Array | pa.ChunkedArray) -> str:
    """SHA-256 over the row ids, in order: proves that a chunk came out with the rows it went in with."""
    if isinstance(row_ids, pa.ChunkedArray):
        row_ids = row_ids.combine_chunks()
    binary = row_ids.cast(pa.large_binary())
    if binary.null_count or not len(binary):
        return hashlib.sha256(str(binary.to_pylist()).encode()).hexdigest()
    _, offsets_buffer, data = binary.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[binary.offset : binary.offset + len(binary) + 1]
    digest = hashlib.sha256(np.diff(offsets).tobytes())
    digest.update(memoryview(data)[offsets[0] : offsets[-1]] if data is not None else b"")
    return digest.hexdigest()


def encode_data(table: pa.Table) -> bytes:
    """Build the data object in memory, whole."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_statistics=True)
    return bytes(sink.getvalue())


def commit_chunk(
    store: Store,
    chunk: int,
    table: pa.Table,
    *,
    ids: str,
    rows: int,
    attempt: Attempt,
    plan: str,
    usage: Usage,
    busy_s: float = 0.0,
    reread: int = 0,
    calls: dict[str, int] | None = None,
    objects: tuple[StoredObject, ...] = (),
    commit_now: bool = True,
) -> tuple[Commit, bool]:
    """Write a chunk's outcomes and make them count.

    Args:
        table: the outcomes, of `outcome_schema`.
        ids: digest_of_ids of the rows as they were read; rows: how many the plan says there are.
        objects: what stands in the store already and belongs to these outcomes: archives of media.
        commit_now: False leaves the last step to `put_commit` (a store without conditional writes has one committer).

    Returns:
        The commit that counts, and whether it is this attempt's.

    Raises:
        ChunkIntegrityError: the outcomes are not those of the chunk's rows, each once. Nothing was written.
        AttemptExpiredError: too late to write. UnknownResultError: the store does not answer; try the chunk again.
    """
    if table.num_rows != rows or digest_of_ids(table.column("row_id")) != ids:
        raise ChunkIntegrityError(
            f"chunk {chunk}: {table.num_rows} outcomes for {rows} rows, or other row ids than were read; not committed"
        )
    data = encode_data(table)
    by_status = {
        each["values"]: each["counts"] for each in pc.value_counts(table.column("status")).to_pylist()
    }
    commit = Commit(
        chunk=chunk,
        data=f"{DATA}{chunk_name(chunk)}-{attempt.id}.parquet",
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=rows,
        ids=ids,
        counts={status: by_status.get(status, 0) for status in STATUSES},
        usage=usage,
        attempt=attempt.id,
        plan=plan,
        committed_s=time.time(),
        busy_s=round(busy_s, 3),
        reread=reread,
        calls=calls or no_calls(),
        objects=objects,
        unasked=pc.sum(pc.is_in(table.column("reason"), pa.array(sorted(UNASKED)))).as_py() or 0,
    )
    put_own(lambda: store.put(commit.data, data), attempt)
    if not commit_now:
        attempt.check()
        return commit, True
    return put_commit(store, commit, attempt)


def put_own(put: Callable[[], None], attempt: Attempt) -> None:
    """Put an object whose name is the attempt's own, so that repeating the same write is harmless.

    Raises:
        AttemptExpiredError: too late to write. UnknownResultError: the store does not answer.
    """
    for number in range(WRITE_TRIES):
        attempt.check()
        try:
            put()
            return
        except UnknownResultError:
            if number == WRITE_TRIES - 1:
                raise
            time.sleep(pause_s(number + 1))


def put_commit(store: Store, commit: Commit, attempt: Attempt | None = None) -> tuple[Commit, bool]:
    """Create the commit, or find out whose is there. An unknown answer is settled by reading, never by deleting.

    Args:
        attempt: whose limit ends the trying; None for a single committer, which has no limit.

    Raises:
        AttemptExpiredError: too late to write. UnknownResultError: the store does not answer.
        ChunkIntegrityError: the commit that stands is another run's.
        CorruptDataError: the commit that stands cannot be read.
    """
    standing = create_once(
        store,
        commit.key,
        seal(commit.record()),
        lambda: read_commit(store, commit.chunk),
        unsettled="the commit was written",
        before_write=attempt.check if attempt is not None else lambda: None,
    )
    if standing is None:
        return commit, True
    if standing.plan != commit.plan:
        raise ChunkIntegrityError(f"{store.uri_of(commit.key)} is another run's; remove it and run again")
    return standing, standing.attempt == commit.attempt  # ours, when only the answer was lost


def read_commit(store: Store, chunk: int) -> Commit:
    """Return the commit of a chunk. Raises KeyNotFoundError, CorruptDataError."""
    return Commit.read(read_sealed(store, f"{COMMITS}{chunk_name(chunk)}.json", _REMEDY))


def read_commits(store: Store, chunks: list[int]) -> Iterator[Commit]:
    """Yield the commits of these chunks, reading many at once; each must exist."""
    keys = {f"{COMMITS}{chunk_name(chunk)}.json": chunk for chunk in chunks}
    for key, data in store.get_many(list(keys)):
        try:
            yield Commit.read(unseal(data, store.uri_of(key)))
        except CorruptDataError:
            yield read_commit(store, keys[key])  # asks again before it gives up


def committed_chunks(store: Store) -> set[int]:
    """Return which chunks have a commit, from one listing. Readers go by the manifest instead."""
    names = (info.key.removeprefix(COMMITS).removesuffix(".json") for info in store.list(COMMITS))
    return {int(name) for name in names if is_number(name)}


def read_data(store: Store, commit: Commit, columns: list[str] | None = None) -> pa.Table:
    """Read a chunk's outcomes, in this version's schema, and check them against the commit.

    Raises CorruptDataError, KeyNotFoundError.

    Args:
        columns: only these are decoded (all bytes are checked).
    """
    about = f"commit {commit.chunk}"
    data = read_checked(store, commit.data, commit.size_bytes, commit.sha256, about)
    return lifted(decode_data(data, columns))


def read_ids(store: Store, commit: Commit) -> pa.Array:
    """Read a chunk's row ids, and nothing else of it. Raises CorruptDataError, KeyNotFoundError."""
    try:
        with store.open(commit.data) as file:
            found = pq.ParquetFile(file, pre_buffer=False).read(["row_id"], use_threads=False).column(0)
    except (pa.ArrowException, OSError) as error:
        raise CorruptDataError(f"{store.uri_of(commit.data)}: its row ids cannot be read: {error}") from error
    return found.combine_chunks()


def read_checked(store: Store, key: str, size_bytes: int, sha256: str, about: str) -> bytes:
    """Read an object whose digest is recorded elsewhere. Raises CorruptDataError, KeyNotFoundError."""
    data: bytes = b""
    for _ in range(3):  # a flip on the way is asked for again; one in the store stays
        data = store.get(key)
        if len(data) == size_bytes and hashlib.sha256(data).hexdigest() == sha256:
            return data
    raise CorruptDataError(
        f"{store.uri_of(key)}: {len(data):,} bytes that do not match the SHA-256 of {about}"
    )


def decode_data(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Read a data object, or some of its columns, in one thread."""
    # Without Arrow's own threads: a chunk is small, and a process that ends early must not leave them behind.
    return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(columns, use_threads=False)
