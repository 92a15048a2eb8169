"""Overlap: which chunks of an older run hold the rows of each chunk of a new one. Bounded memory: ids spill by their hash."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from types import TracebackType

import numpy as np
import pyarrow as pa

from raygen.errors import ConfigError

PARTITIONS = 256
BUFFERED_ROWS = 500_000
MOST_PLACES = 4_000_000  # chunks to be read for all chunks together
ENTRY = np.dtype([("hash", np.uint64), ("chunk", np.int32)])


class Overlap:
    """For every new chunk the old ones that hold its rows, in order; and how many rows both runs have."""

    def __init__(self, rows: int, pairs: np.ndarray) -> None:
        self.rows = rows
        self.unread: list[str] = []  # chunks of the older run whose ids could not be read, and why
        self._pairs = pairs  # new chunk * 2**32 + old chunk, sorted

    def of(self, chunk: int) -> tuple[int, ...]:
        start, stop = np.searchsorted(self._pairs, np.array([chunk, chunk + 1], np.uint64) << np.uint64(32))
        return tuple(int(each) for each in self._pairs[start:stop] & np.uint64(2**32 - 1))


def find_overlap(old: Iterable[tuple[int, pa.Array]], new: Iterable[tuple[int, pa.Array]]) -> Overlap:
    """Compare the row ids of two runs, each a chunk's number with its ids; no id occurs twice in a run.

    It may use temporary files of 12 bytes a row, where `tempfile` puts them. Two ids that share a 64-bit hash cost the
    reading of a chunk that has nothing to say, and no more.

    Raises:
        ConfigError: the rows are in such another order that finding them again is beyond reason.
    """
    with _Spill() as before, _Spill() as now:
        for chunk, ids in old:
            before.add(chunk, ids)
        for chunk, ids in new:
            now.add(chunk, ids)
        rows = 0
        pairs: list[np.ndarray] = []
        for part in range(PARTITIONS):
            was, here = before.part(part), now.part(part)
            was.sort(order="hash")
            at = np.searchsorted(was["hash"], here["hash"])
            found = at < len(was)
            found[found] = was["hash"][at[found]] == here["hash"][found]
            rows += int(found.sum())
            places = here["chunk"][found].astype(np.uint64) << np.uint64(32)
            pairs.append(np.unique(places + was["chunk"][at[found]].astype(np.uint64)))
            if part == PARTITIONS - 1 or sum(map(len, pairs)) > 2 * MOST_PLACES:
                pairs = [np.unique(np.concatenate(pairs))]
                if len(pairs[0]) > MOST_PLACES:
                    raise ConfigError(
                        f"its rows are in an order so different that more than {MOST_PLACES:,} chunks would have to be "
                        "read again for them; sort the source as it was"
                    )
    return Overlap(rows, pairs[0])


class _Spill:
    """Hashes of ids with their chunks, in partitions by hash; on disk once there are many. A context manager."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="raygen-overlap-")  # noqa: SIM115 - closed by __exit__
        self._held: list[np.ndarray] = []
        self._rows = 0
        self._bounds: list[
            np.ndarray
        ] = []  # of each spill: where its partitions begin, in entries of the file

    def __enter__(self) -> _Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, chunk: int, ids: pa.Array) -> None:
        entries = np.empty(len(ids), ENTRY)
        entries["hash"] = np.fromiter((hash(text) for text in ids.to_pylist()), np.int64, len(ids)).view(
            np.uint64
        )
        entries["chunk"] = chunk
        self._held.append(entries)
        self._rows += len(ids)
        if self._rows >= BUFFERED_ROWS:
            self._write()

    def part(self, part: int) -> np.ndarray:
        """Return the entries of one partition."""
        self._write()
        found = []
        for bounds in self._bounds:
            start, stop = int(bounds[part]), int(bounds[part + 1])
            self._file.seek(start * ENTRY.itemsize)
            found.append(np.frombuffer(self._file.read((stop - start) * ENTRY.itemsize), ENTRY))
        return np.concatenate(found) if found else np.empty(0, ENTRY)

    def _write(self) -> None:
        if not self._held:
            return
        entries = np.concatenate(self._held)
        self._held, self._rows = [], 0
        parts = entries["hash"] % np.uint64(PARTITIONS)
        order = np.argsort(parts, kind="stable")
        begins = int(self._bounds[-1][-1]) if self._bounds else 0
        self._bounds.append(begins + np.searchsorted(parts[order], np.arange(PARTITIONS + 1)))
        self._file.seek(begins * ENTRY.itemsize)
        self._file.write(entries[order].tobytes())
