"""Feed: blocks on their way from the store to whoever computes them, in a given order, a few ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa

from raygen.config import StorageOptions
from raygen.errors import ChunkIntegrityError, RaygenError
from raygen.storage import Store, open_store
from raygen.train.base import UNITS
from raygen.train.prepared import Prepared
from raygen.train.shards import read_block
from raygen.train.spread import dataset, known

TASK_BLOCKS = 64  # that one task reads: starting a task costs more than reading a block
TASKS = 2  # at once: while one ends, the next is there
BUNDLE = 8  # blocks that travel together: every hand-over costs the training process time
READERS = 4  # threads of a task: on S3 a block's time is mostly the wait for the answer
AHEAD_BYTES = 64 * 2**20  # of the object store, that a feed asks for

# What travels: a bundle in one cell (Ray splits and merges tables as it likes), or an error.
_SENT = pa.schema([("blocks", pa.large_binary()), ("error", pa.string()), ("message", pa.string())])
_NUMBER = b"block"  # key of a block's number in its metadata


def feed(
    prepared: Prepared,
    split: str,
    numbers: Sequence[int],
    store_uri: str,
    storage: StorageOptions,
    *,
    ahead: int = 2,
) -> Iterator[pa.Table]:
    """Yield blocks (schema UNITS) by their numbers, in this order, read by Ray Data tasks while others are computed.

    Args:
        ahead: blocks that are fetched into this process before they are asked for.

    Raises:
        CorruptDataError: a shard is not what was written. StorageError: the store does not answer.
    """
    if not numbers:
        return
    from ray.data import TaskPoolStrategy

    tasks = [
        orjson.dumps([_place(prepared, split, number) for number in numbers[i : i + TASK_BLOCKS]])
        for i in range(0, len(numbers), TASK_BLOCKS)
    ]
    stages = dataset(tasks, preserve_order=True, store_bytes=AHEAD_BYTES).map_batches(
        partial(_send, store_uri=store_uri, storage=storage),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0,  # workers may hold all CPUs: then it would wait for ever
        compute=TaskPoolStrategy(TASKS),
    )
    batches = stages.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=ahead)
    for number, (came, units) in zip(numbers, _unpacked(batches), strict=True):
        wanted = prepared.blocks[split][number].units
        if came != number or units.num_rows != wanted:
            raise ChunkIntegrityError(
                f"block {number} of {split} has {wanted} units; block {came} with {units.num_rows} came"
            )
        yield units


def read_blocks(prepared: Prepared, split: str, numbers: Iterable[int], store: Store) -> Iterator[pa.Table]:
    """Yield the same without Ray. Raises CorruptDataError, StorageError."""
    for number in numbers:
        _, key, group = _place(prepared, split, number)
        yield read_block(store, key, group)


def _place(prepared: Prepared, split: str, number: int) -> tuple[int, str, int]:
    block = prepared.blocks[split][number]
    return number, prepared.shards[split][block.shard], block.group


def _send(batch: pa.Table, *, store_uri: str, storage: StorageOptions) -> Iterator[pa.Table]:
    store = open_store(store_uri, storage)
    for task in batch.column("input"):
        blocks = _read_ahead(store, orjson.loads(task.as_py()))
        try:
            while bundle := list(islice(blocks, BUNDLE)):
                yield pa.Table.from_pylist([{"blocks": _pack(bundle)}], schema=_SENT)
        except RaygenError as error:
            row = {"error": type(error).__name__, "message": str(error)}
            yield pa.Table.from_pylist([row], schema=_SENT)


def _pack(bundle: list[tuple[Any, pa.Table]]) -> bytes:
    """Return blocks as one Arrow stream, a batch each."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, UNITS) as writer:
        for (number, _, _), units in bundle:
            merged = units.combine_chunks().to_batches()
            writer.write_batch(merged[0], custom_metadata={_NUMBER: str(number)})
    return sink.getvalue().to_pybytes()


def _unpacked(batches: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """Yield blocks with their numbers. Raises RaygenError: as a task raised it."""
    for batch in batches:
        for row, blocks in zip(batch.drop_columns("blocks").to_pylist(), batch.column("blocks"), strict=True):
            if row["error"] is not None:
                raise known(row["error"], row["message"])
            with pa.ipc.open_stream(blocks.as_buffer()) as stream:
                for units, metadata in stream.iter_batches_with_custom_metadata():
                    yield int(metadata[_NUMBER]), pa.Table.from_batches([units])


def _read_ahead(store: Store, places: list[Any]) -> Iterator[tuple[Any, pa.Table]]:
    """Yield the blocks in order, while threads read the next ones."""
    pool = ThreadPoolExecutor(READERS, "block")
    waiting: deque[tuple[Any, Future[pa.Table]]] = deque()
    try:
        for place in places:
            waiting.append((place, pool.submit(read_block, store, place[1], place[2])))
            if len(waiting) > READERS:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
