"""The finder of duplicates: reads the fingerprints of a run's accepted rows, chunk by chunk, in bounded memory."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raygen.data.text.alike import Alike
from raygen.data.text.fingerprint import DIGEST_BYTES
from raygen.errors import ChunkIntegrityError
from raygen.runs.commit import Commit, read_data
from raygen.runs.duplicates import SCHEMA, Deduplicate
from raygen.runs.outcome import ACCEPTED
from raygen.storage import Store

COLUMNS = ["row_id", "status", "fingerprint"]
READERS = 4  # chunks read ahead
_HELD = pa.schema([("row", pa.int32()), ("row_id", pa.string()), ("digest", pa.binary())])


def find_duplicates(chunks: Iterable[tuple[Store, Commit]], config: Deduplicate) -> pa.Table:
    """Return the duplicates (duplicates.SCHEMA) among the accepted rows of these chunks, in the order of the plan.

    Raises:
        CorruptDataError: a chunk does not match its commit. StorageError: the store does not answer.
        ChunkIntegrityError: the fingerprints are of another kind than the job says.
    """
    ordered = sorted(chunks, key=lambda place: place[1].chunk)
    with DuplicateFinder(config) as finder:
        for commit, table in _read_ahead([place for place in ordered if place[1].counts[ACCEPTED]]):
            finder.add(commit.chunk, table)
        return finder.found()


def _read_ahead(chunks: list[tuple[Store, Commit]]) -> Iterator[tuple[Commit, pa.Table]]:
    with ThreadPoolExecutor(READERS, "fingerprints") as pool:
        left = iter(chunks)
        running: deque[tuple[Commit, Future[pa.Table]]] = deque()
        for store, commit in islice(left, READERS):
            running.append((commit, pool.submit(read_data, store, commit, COLUMNS)))
        while running:
            commit, future = running.popleft()
            table = future.result()
            for store, following in islice(left, 1):
                running.append((following, pool.submit(read_data, store, following, COLUMNS)))
            yield commit, table


class DuplicateFinder:
    """Takes the chunks of a run in the order of the plan, and then tells the duplicates among their accepted rows.

    A context manager: it holds temporary files, of the row ids and of what `Alike` says. In memory are, beside what `Alike`
    needs, the duplicates themselves (about 100 bytes each).
    """

    def __init__(self, config: Deduplicate) -> None:
        self._alike = Alike(config.near)
        self._file = tempfile.NamedTemporaryFile(prefix="raygen-ids-")  # noqa: SIM115 - closed by __exit__
        self._writer = pa.ipc.new_file(self._file, _HELD)
        self._chunks: list[int] = []
        self._starts = [0]  # of each chunk's rows among those that were taken; and the end

    def __enter__(self) -> DuplicateFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()
        self._alike.__exit__(kind, error, at)

    def add(self, chunk: int, table: pa.Table) -> None:
        """Take in a chunk's outcomes, of which COLUMNS are read. Chunks come in the order of their numbers."""
        wanted = pc.and_(pc.equal(table.column("status"), ACCEPTED), pc.is_valid(table.column("fingerprint")))
        rows = pc.indices_nonzero(wanted)
        if not len(rows):
            return
        chosen = table.select(COLUMNS).take(rows).combine_chunks()
        fingerprints = chosen.column("fingerprint").combine_chunks()
        try:
            self._alike.add(fingerprints)
        except ValueError as error:
            raise ChunkIntegrityError(f"chunk {chunk}: {error}") from None
        digests = pc.binary_slice(fingerprints, 0, DIGEST_BYTES)
        ids = chosen.column("row_id").combine_chunks()
        self._writer.write_batch(pa.record_batch([rows.cast(pa.int32()), ids, digests], schema=_HELD))
        self._chunks.append(chunk)
        self._starts.append(self._starts[-1] + len(rows))

    def found(self) -> pa.Table:
        """Return the duplicates, of duplicates.SCHEMA, in the order of the plan."""
        self._writer.close()
        self._file.flush()
        parts = []
        with pa.memory_map(self._file.name) as file:
            held = pa.ipc.open_file(file)
            for places, of, similarity in self._alike.repeats():
                if not len(places):
                    continue
                own, chunks = self._take(held, places)
                standing, _ = self._take(held, of)
                columns = [
                    pa.array(chunks, pa.int32()),
                    own.column("row"),
                    own.column("row_id"),
                    standing.column("row_id"),
                    pa.array(np.round(similarity, 6)),
                    own.column("digest"),
                ]
                parts.append(pa.Table.from_arrays(columns, schema=SCHEMA))
        return pa.concat_tables(parts).combine_chunks() if parts else SCHEMA.empty_table()

    def _take(self, held: pa.RecordBatchFileReader, places: np.ndarray) -> tuple[pa.Table, np.ndarray]:
        """Return what is held of rows in any places, and the numbers of their chunks."""
        starts = np.array(self._starts)
        numbers = np.searchsorted(starts, places, "right") - 1
        order = np.argsort(numbers, kind="stable")
        taken = []
        for number in np.unique(numbers):
            within = places[order][numbers[order] == number] - starts[number]
            taken.append(held.get_batch(int(number)).take(pa.array(within)))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.Table.from_batches(taken, _HELD).take(pa.array(back)), np.array(self._chunks)[numbers]
