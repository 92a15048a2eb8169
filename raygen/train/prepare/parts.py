"""Parts: encoded rows between the passes of preparation. One object holds many, in slices that can be read apart."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from raygen.storage import Store
from raygen.train.prepare.alike import slice_numbers
from raygen.train.prepare.prepared import FOLDER

PARTS = f"{FOLDER}parts/"
READERS = 8

_OFFSET = np.dtype("<u8")
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Part:
    """A part, as its writer reports it. A slice of all parts is one range of all digests.

    Where its slices begin stands in its first bytes: a driver could not hold that of all.
    """

    key: str
    sizes_bytes: list[int]  # of each slice in memory


class Parts:
    """All parts of a pass: their keys, and what they hold together."""

    def __init__(self, slices: int) -> None:
        self.keys: list[str] = []
        self._sizes = np.zeros(slices, np.int64)

    def add(self, part: Part) -> None:
        self.keys.append(part.key)
        self._sizes += np.asarray(part.sizes_bytes)

    def buckets(self, budget_bytes: int) -> list[tuple[int, int]]:
        """Return (first, stop) of runs of slices that together hold at most `budget_bytes`, if each does."""
        found: list[tuple[int, int]] = []
        start, held = 0, 0
        for number, size in enumerate(self._sizes.tolist()):
            if held and held + size > budget_bytes:
                found.append((start, number))
                start, held = number, 0
            held += size
        found.append((start, len(self._sizes)))
        return found


def write_part(store: Store, encoded: pa.Table, by: str, slices: int) -> Part:
    """Write rows, cut into slices by their column `by`, under a name of its own: Ray may run a task twice."""
    numbers = slice_numbers(encoded, by, slices)
    order = np.argsort(numbers, kind="stable")
    rows = encoded.take(pa.array(order)).combine_chunks()
    borders = np.searchsorted(numbers[order], np.arange(slices + 1))
    sink = pa.BufferOutputStream()
    offsets = np.zeros(slices + 1, _OFFSET)
    sizes = [0] * slices
    for number, (start, stop) in enumerate(pairwise(borders.tolist())):
        if stop > start:
            cut = rows.slice(start, stop - start)
            sizes[number] = cut.nbytes
            with pa.ipc.new_stream(sink, rows.schema, options=_COMPRESSED) as writer:
                writer.write_table(cut)
        offsets[number + 1] = sink.tell()
    key = f"{PARTS}{uuid.uuid4().hex}.arrows"
    offsets += offsets.nbytes
    store.put(key, offsets.tobytes() + sink.getvalue().to_pybytes())
    return Part(key, sizes)


def read_slices(store: Store, keys: Sequence[str], first: int, stop: int, schema: pa.Schema) -> pa.Table:
    """Return what all parts have in slices [first, stop): rows of this schema."""
    with ThreadPoolExecutor(READERS, "part") as pool:
        tables = [
            each for found in pool.map(lambda key: _read(store, key, first, stop), keys) for each in found
        ]
    return pa.concat_tables([schema.empty_table(), *tables])


def _read(store: Store, key: str, first: int, stop: int) -> list[pa.Table]:
    width = _OFFSET.itemsize
    offsets = np.frombuffer(store.get_range(key, first * width, (stop + 1) * width), _OFFSET)
    start, end = int(offsets[0]), int(offsets[-1])
    data = pa.BufferReader(store.get_range(key, start, end) if end > start else b"")
    tables = []
    while data.tell() < end - start:
        with pa.ipc.open_stream(data) as stream:
            tables.append(stream.read_all())
    return tables
