"""Unique: do millions of row ids all differ? Exact, in bounded memory: ids spill to disk by their hash."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PARTITIONS = 256  # a billion ids are checked four million at a time
BUFFER_BYTES = 4 * 2**20
LONGEST = 200  # characters of an id that are kept; of a longer one the start and a 128-bit hash
SHOWN = 5
SCHEMA = pa.schema([("id", pa.string()), ("file", pa.int32()), ("row", pa.int64())])


class UniqueIds:
    """Collects row ids with their places and finds those that occur more than once.

    A context manager: it may hold a temporary file of about the size of the ids, where `tempfile` puts it.
    """

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.buffer_bytes = buffer_bytes
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._spills = 0
        self._file: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> UniqueIds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._file is not None:
            self._file.close()

    def add(self, ids: pa.Array | Sequence[str], file: int, rows: np.ndarray | Sequence[int]) -> None:
        """Add ids (no nulls) of one input: its number, and each id's row number there."""
        array = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
        if len(array) == 0:
            return
        if pc.max(pc.binary_length(array)).as_py() > LONGEST:
            array = pa.array([_shortened(text) for text in array.to_pylist()], pa.string())
        places = np.full(len(array), file, np.int32)
        batch = pa.record_batch([array, pa.array(places), pa.array(rows, pa.int64())], schema=SCHEMA)
        self._held.append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes > self.buffer_bytes:
            self._spill()

    def duplicates(self) -> tuple[int, list[tuple[str, list[tuple[int, int]]]]]:
        """Return how many ids occur more than once, and of the first few two (file, row) places each."""
        count = 0
        first: list[tuple[tuple[int, int], str, list[tuple[int, int]]]] = []
        for table in self._partitions():
            if pc.count_distinct(table.column("id")).as_py() == table.num_rows:
                continue
            found = _repeated(table)
            count += len(found)
            first = heapq.nsmallest(
                SHOWN, [*first, *((places[0], text, places) for text, places in found.items())]
            )
        return count, [(text, places) for _, text, places in first]

    def _spill(self) -> None:
        table = pa.Table.from_batches(self._held, SCHEMA).combine_chunks()
        self._held, self._held_bytes = [], 0
        if self._writer is None:
            self._file = tempfile.NamedTemporaryFile(prefix="raygen-ids-")  # noqa: SIM115 - closed by __exit__
            self._writer = pa.ipc.new_file(self._file, SCHEMA)
        parts = np.fromiter((hash(text) % PARTITIONS for text in _texts(table)), np.int32, table.num_rows)
        order = np.argsort(parts, kind="stable")
        bounds = np.searchsorted(parts[order], np.arange(PARTITIONS + 1))
        batch = table.take(pa.array(order)).combine_chunks().to_batches()[0]
        # One batch a partition and spill, empty or not: partition p of spill s is batch s * PARTITIONS + p.
        for part in range(PARTITIONS):
            self._writer.write_batch(batch.slice(bounds[part], bounds[part + 1] - bounds[part]))
        self._spills += 1

    def _partitions(self) -> Iterator[pa.Table]:
        if self._writer is None or self._file is None:
            yield pa.Table.from_batches(self._held, SCHEMA)
            return
        if self._held:
            self._spill()
        self._writer.close()
        self._writer = None
        self._file.flush()
        with pa.OSFile(self._file.name) as file:
            reader = pa.ipc.open_file(file)
            for part in range(PARTITIONS):
                yield pa.Table.from_batches(
                    [reader.get_batch(s * PARTITIONS + part) for s in range(self._spills)]
                )


def _texts(table: pa.Table) -> Iterator[str]:
    for batch in table.to_batches(
        max_chunksize=16_384
    ):  # Python strings of a whole buffer at once would double it
        yield from batch.column(0).to_pylist()


def _shortened(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]}...{blake2b(text.encode(), digest_size=16).hexdigest()}"


def _repeated(table: pa.Table) -> dict[str, list[tuple[int, int]]]:
    """Return the first two places of every id that `table` holds more than once."""
    encoded = table.column("id").combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    repeated = np.flatnonzero(np.bincount(codes)[codes] > 1)
    places: dict[str, list[tuple[int, int]]] = {}
    for row in table.take(pa.array(repeated)).to_pylist():
        places.setdefault(row["id"], []).append((row["file"], row["row"]))
    return {text: each[:2] for text, each in places.items()}
