"""Shards: the last pass of preparation, as its tasks do it (encoded rows become blocks), and the reading of one block."""

from __future__ import annotations

import hashlib
import io
import uuid
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raygen.errors import CorruptDataError
from raygen.storage import Store
from raygen.storage.ranges import RangeReader
from raygen.train.families.base import IGNORED, SPLITS, UNITS
from raygen.train.prepare.alike import drop_copies, settle, shuffled
from raygen.train.prepare.packing import blocks_of
from raygen.train.prepare.parts import read_slices, write_part
from raygen.train.prepare.prepared import FOLDER
from raygen.train.recipe import Recipe

FOOTERS = 64  # held by a process


@dataclass
class Shard:
    """One file of blocks, of one split."""

    split: str
    key: str
    digest: str
    blocks: list[tuple[int, int, int]]  # units, tokens, targets of each


@dataclass
class Finished:
    """What a task made of a bucket."""

    examples: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    augmented: int = 0
    shards: list[Shard] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes) -> Finished:
        record = orjson.loads(data)
        record["shards"] = [Shard(**shard) for shard in record["shards"]]
        return cls(**record)


@dataclass(frozen=True)
class Settling:
    """Between the passes, where copies are made of a source of several buckets: a bucket's rows in, a part out.

    A copy is judged twice: where its row is, and then, as any example, where those like it are.
    """

    recipe: Recipe
    store: Store
    parts: list[str]  # their keys
    slices: int

    def __call__(self, bucket: bytes) -> bytes:
        encoded, dropped = settle(read_slices(self.store, self.parts, *orjson.loads(bucket)))
        parts = [write_part(self.store, encoded, "digest", self.slices)] if encoded.num_rows else []
        return orjson.dumps({"duplicates": dropped, "parts": [asdict(part) for part in parts]})


@dataclass(frozen=True)
class Finishing:
    """The work of the pass: a bucket in, `Finished` out, both as JSON."""

    recipe: Recipe
    packs: bool
    settled: bool  # by Settling: copies are not beside their rows any more
    store: Store
    parts: list[str]  # their keys

    def __call__(self, bucket: bytes) -> bytes:
        encoded = read_slices(self.store, self.parts, *orjson.loads(bucket))
        found = Finished()
        if self.recipe.preparation.deduplicate:
            if not self.settled:
                encoded, found.duplicates = settle(encoded)
            encoded = drop_copies(encoded)
        encoded = shuffled(encoded)
        found.augmented = int(np.count_nonzero(encoded.column("copy").to_numpy()))
        splits = encoded.column("split").to_numpy()
        for number, split in enumerate(SPLITS):
            mine = encoded.filter(pa.array(splits == number))
            found.examples[split] = mine.num_rows
            if mine.num_rows:
                found.shards.append(self._write(mine, split))
        return orjson.dumps(asdict(found))

    def _write(self, encoded: pa.Table, split: str) -> Shard:
        lengths = pc.list_value_length(encoded.column("input_ids")).to_pylist()
        batch = self.recipe.batch
        sink, blocks = io.BytesIO(), []
        # Only ids of tokens gain from compression; a dictionary, statistics: nobody asks for them.
        with pq.ParquetWriter(
            sink,
            UNITS,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        ) as writer:
            for block in blocks_of(
                lengths, packs=self.packs, max_tokens=batch.max_tokens, micro_tokens=batch.micro_tokens
            ):
                units = units_of(encoded, block)
                writer.write_table(units, row_group_size=units.num_rows)
                longest = max(sum(lengths[i] for i in unit) for unit in block)
                targets = units.column("targets").combine_chunks().flatten().to_numpy()
                blocks.append((len(block), len(block) * longest, int(np.count_nonzero(targets != IGNORED))))
        data = sink.getvalue()
        key = f"{FOLDER}{split}-{uuid.uuid4().hex}.parquet"
        self.store.put(key, data)
        return Shard(split, key, hashlib.sha256(data).hexdigest(), blocks)


def units_of(encoded: pa.Table, block: list[list[int]]) -> pa.Table:
    """Return a block's units (schema UNITS): the lists of a unit's examples, end to end."""
    rows = encoded.take(pa.array([i for unit in block for i in unit])).combine_chunks()
    ends = np.cumsum([0, *map(len, block)])  # which of the rows are whose
    columns: dict[str, Any] = {}
    for name in ("input_ids", "targets", "type_ids"):
        lists = rows.column(name).chunk(0)
        offsets = lists.offsets.to_numpy()
        columns[name] = pa.ListArray.from_arrays(pa.array(offsets[ends]), lists.values)
    starts = pa.array(ends, pa.int32())
    columns["row_ids"] = pa.ListArray.from_arrays(starts, rows.column("row_id").chunk(0))
    lengths = pc.list_value_length(rows.column("input_ids").chunk(0))
    columns["lengths"] = pa.ListArray.from_arrays(starts, lengths)
    return pa.table({name: columns[name] for name in UNITS.names}, schema=UNITS)


def read_block(store: Store, key: str, group: int) -> pa.Table:
    """Return one block's units, by one range request (and two more for the footer of a shard that is new here).

    Raises:
        CorruptDataError: not what was written.
    """
    size_bytes, footer = _footer(store, key)
    raw = pa.PythonFile(RangeReader(partial(store.get_range, key), size_bytes), mode="r")
    try:
        with pq.ParquetFile(raw, metadata=footer, pre_buffer=True, page_checksum_verification=True) as shard:
            return shard.read_row_group(group, use_threads=False).cast(UNITS)
    except (OSError, pa.ArrowException) as error:
        raise CorruptDataError(f"{store.uri_of(key)}, row group {group}: {error}") from None


def _footer(store: Store, key: str) -> tuple[int, pq.FileMetaData]:
    return _cached_footer(_Place(store, key))


class _Place:
    """A key of a store, equal to itself: stores are not."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, key
        self._uri = store.uri_of(key)

    def __hash__(self) -> int:
        return hash(self._uri)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and other._uri == self._uri


@lru_cache(maxsize=FOOTERS)
def _cached_footer(place: _Place) -> tuple[int, pq.FileMetaData]:
    """Shards never change: their names are used once."""
    size_bytes = place.store.stat(place.key).size_bytes
    reader = RangeReader(partial(place.store.get_range, place.key), size_bytes)
    try:
        return size_bytes, pq.read_metadata(pa.PythonFile(reader, mode="r"))
    except (OSError, pa.ArrowException) as error:
        raise CorruptDataError(f"{place.store.uri_of(place.key)}: {error}") from None
