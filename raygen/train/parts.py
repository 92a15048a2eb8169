"""Parts: encoded rows between the passes of preparation. One object holds many rows, cut into slices by their digests,
so that a reader of some slices gets them from every part by one range request."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raygen.storage import Store
from raygen.train.duplicates import ENCODED, slice_numbers
from raygen.train.prepared import FOLDER

PARTS = f"{FOLDER}parts/"
READERS = 8


@dataclass(frozen=True)
class Part:
    """Where the slices of a part are."""

    key: str
    offsets: list[int]  # where each slice begins in the object; one more, where the last ends
    sizes_bytes: list[int]  # of each slice in memory


def write_part(store: Store, encoded: pa.Table, by: str, slices: int) -> Part:
    """Write rows, cut into slices by their column `by`, under a name of its own: Ray may run a task twice."""
    numbers = slice_numbers(encoded, by, slices)
    order = np.argsort(numbers, kind="stable")
    rows = encoded.take(pa.array(order)).combine_chunks()
    ends = np.searchsorted(numbers[order], np.arange(1, slices + 1)).tolist()
    sink = pa.BufferOutputStream()
    offsets, sizes, start = [0], [], 0
    for end in ends:
        cut = rows.slice(start, end - start)
        if end > start:
            with pa.ipc.new_stream(
                sink, ENCODED, options=pa.ipc.IpcWriteOptions(compression="lz4")
            ) as writer:
                writer.write_table(cut)
        offsets.append(sink.tell())
        sizes.append(cut.nbytes if end > start else 0)
        start = end
    key = f"{PARTS}{uuid.uuid4().hex}.arrows"
    store.put(key, sink.getvalue().to_pybytes())
    return Part(key, offsets, sizes)


def read_slices(store: Store, parts: Sequence[Part], first: int, stop: int) -> pa.Table:
    """Return what all parts have in slices [first, stop)."""
    with ThreadPoolExecutor(READERS, "part") as pool:
        tables = list(pool.map(lambda part: _read(store, part, first, stop), parts))
    return pa.concat_tables([ENCODED.empty_table(), *tables])


def _read(store: Store, part: Part, first: int, stop: int) -> pa.Table:
    start, end = part.offsets[first], part.offsets[stop]
    if start == end:
        return ENCODED.empty_table()
    data = pa.py_buffer(store.get_range(part.key, start, end))
    tables = [
        pa.ipc.open_stream(data.slice(begin - start, after - begin)).read_all()
        for begin, after in zip(part.offsets[first:stop], part.offsets[first + 1 : stop + 1], strict=True)
        if after > begin
    ]
    return pa.concat_tables(tables)


def buckets(parts: Sequence[Part], slices: int, budget_bytes: int) -> list[tuple[int, int]]:
    """Return (first, stop) of runs of slices that together hold at most `budget_bytes`, if each does."""
    sizes = [sum(part.sizes_bytes[number] for part in parts) for number in range(slices)]
    found: list[tuple[int, int]] = []
    start, held = 0, 0
    for number, size in enumerate(sizes):
        if held and held + size > budget_bytes:
            found.append((start, number))
            start, held = number, 0
        held += size
    found.append((start, slices))
    return found
