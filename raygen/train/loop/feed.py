"""Feed: blocks on their way from the store to the worker that computes them, in a given order, a few ahead.

They come in waves. Ray Data reads a wave to its end, in this process's background, while the wave before it is computed;
then nothing of Ray Data runs until the next one. Left open, its executor would look every moment whether the training has
taken a block: its thread, and the interpreter's lock, are the training's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa

from raygen.cluster.errors_as_text import pack_error, unpack_error
from raygen.config.source import StorageOptions
from raygen.errors import ChunkIntegrityError, RaygenError
from raygen.storage import Store, open_store
from raygen.train.families.units import Units
from raygen.train.prepare.prepared import Prepared
from raygen.train.prepare.shards import read_block
from raygen.train.prepare.spread import dataset

FIRST_BLOCKS = (
    8  # of the first wave, so that a training begins; each later one has GROWTH times as many, up to the most
)
GROWTH = 8
MOST_BLOCKS = 1024
WAVE_BYTES = 32 * 2**20  # of the object store that a wave fills, about; there are two of them
TASK_BLOCKS = 64  # that one task reads: starting a task costs more than reading a block
TASKS = 2  # at once: while one ends, the next is there
BUNDLE = 8  # blocks that travel together: every hand-over costs the training process time
READERS = 4  # threads of a task: on S3 a block's time is mostly the wait for the answer

# What travels: a bundle in one cell (Ray splits and merges tables as it likes), or an error.
_SENT = pa.schema([("blocks", pa.large_binary()), ("error", pa.string())])
_NUMBER = b"block"  # key of a block's number in its metadata


def feed(
    prepared: Prepared,
    split: str,
    numbers: Sequence[int],
    store_uri: str,
    storage: StorageOptions,
    *,
    cost_bytes: float = Units.cost_bytes,
) -> Iterator[pa.Table]:
    """Yield blocks by their numbers, in this order, read by Ray Data tasks while others are computed.

    Args:
        cost_bytes: memory of what costs 1, about; see Units.

    Raises:
        CorruptDataError: a shard is not what was written. StorageError: the store does not answer.
    """
    thread = ThreadPoolExecutor(1, "feed")
    waves = _waves(prepared, split, numbers, cost_bytes)

    def begin() -> Future[deque[Any]] | None:
        places = [_place(prepared, split, number) for number in next(waves, ())]
        return thread.submit(_read_wave, places, store_uri, storage) if places else None

    expected = iter(numbers)
    try:
        coming = begin()
        while coming is not None:
            wave = coming.result()
            coming = begin()
            for came, units in _unpacked(wave):
                number = next(expected)
                wanted = prepared.blocks[split][number].units
                if came != number or units.num_rows != wanted:
                    raise ChunkIntegrityError(
                        f"block {number} of {split} has {wanted} units; block {came} with {units.num_rows} came"
                    )
                yield units
        if (missing := next(expected, None)) is not None:
            raise ChunkIntegrityError(f"block {missing} of {split} and those after it did not come")
    finally:
        thread.shutdown(wait=True, cancel_futures=True)


def _waves(
    prepared: Prepared, split: str, numbers: Sequence[int], cost_bytes: float
) -> Iterator[Sequence[int]]:
    """Cut the numbers into waves, small ones first."""
    start, most, held = 0, FIRST_BLOCKS, 0.0
    for end, number in enumerate(numbers):
        if end - start >= most or held > WAVE_BYTES:
            yield numbers[start:end]
            start, most, held = end, min(MOST_BLOCKS, GROWTH * most), 0.0
        held += prepared.blocks[split][number].cost * cost_bytes
    if start < len(numbers):
        yield numbers[start:]


def _read_wave(places: list[Any], store_uri: str, storage: StorageOptions) -> deque[Any]:
    """Return where a wave's bundles lie in the object store."""
    from ray.data import TaskPoolStrategy

    tasks = [orjson.dumps(places[i : i + TASK_BLOCKS]) for i in range(0, len(places), TASK_BLOCKS)]
    stages = dataset(tasks, preserve_order=True).map_batches(
        partial(_send, store_uri=store_uri, storage=storage),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0,  # workers may hold all CPUs: then it would wait for ever
        compute=TaskPoolStrategy(TASKS),
    )
    # Not `iter_batches`: each of its calls may leave a thread behind, for ever.
    return deque(stages.materialize().to_arrow_refs())


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
            yield pa.Table.from_pylist([{"error": pack_error(error)}], schema=_SENT)


def _pack(bundle: list[tuple[Any, pa.Table]]) -> bytes:
    """Return blocks as one Arrow stream, a batch each."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, bundle[0][1].schema) as writer:
        for (number, _, _), units in bundle:
            merged = units.combine_chunks().to_batches()
            writer.write_batch(merged[0], custom_metadata={_NUMBER: str(number)})
    return bytes(sink.getvalue())


def _unpacked(bundles: deque[Any]) -> Iterator[tuple[int, pa.Table]]:
    """Yield blocks with their numbers, and let go of what was taken. Raises RaygenError: as a task raised it."""
    import ray

    while bundles:
        batch = ray.get(bundles.popleft())
        for row, blocks in zip(batch.drop_columns("blocks").to_pylist(), batch.column("blocks"), strict=True):
            if row["error"] is not None:
                raise unpack_error(row["error"])
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
