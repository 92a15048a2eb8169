"""Shards: the last pass of preparation, as its tasks do it (encoded rows become blocks), and the reading of one block."""

from __future__ import annotations

import hashlib
import io
import uuid
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.errors import CorruptDataError
from raygen.storage import Store
from raygen.storage.ranges import RangeReader
from raygen.train.families.base import SPLITS
from raygen.train.families.units import Units
from raygen.train.prepare.alike import drop_copies, encoded_schema, settle, shuffled
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
    blocks: list[tuple[int, int, int]]  # number of units, cost, weight of each


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
    units: Units
    store: Store
    parts: list[str]  # their keys
    slices: int

    def __call__(self, bucket: bytes) -> bytes:
        first, stop = orjson.loads(bucket)
        rows = read_slices(self.store, self.parts, first, stop, encoded_schema(self.units))
        encoded, dropped = settle(rows)
        parts = [write_part(self.store, encoded, "digest", self.slices)] if encoded.num_rows else []
        return orjson.dumps({"duplicates": dropped, "parts": [asdict(part) for part in parts]})


@dataclass(frozen=True)
class Finishing:
    """The work of the pass: a bucket in, `Finished` out, both as JSON."""

    recipe: Recipe
    units: Units
    packs: bool
    settled: bool  # by Settling: copies are not beside their rows any more
    store: Store
    parts: list[str]  # their keys

    def __call__(self, bucket: bytes) -> bytes:
        first, stop = orjson.loads(bucket)
        encoded = read_slices(self.store, self.parts, first, stop, encoded_schema(self.units))
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
        units, batch = self.units, self.recipe.batch
        sink, blocks = io.BytesIO(), []
        # Numbers gain from compression alone; no reader asks for a dictionary or for statistics.
        with pq.ParquetWriter(
            sink,
            units.schema,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        ) as writer:
            for block in units.blocks(units.costs(encoded), batch, packs=self.packs):
                table = units.unite(encoded, block)
                writer.write_table(table, row_group_size=table.num_rows)
                blocks.append((len(block), *units.measure(table)))
        data = sink.getvalue()
        key = f"{FOLDER}{split}-{uuid.uuid4().hex}.parquet"
        self.store.put(key, data)
        return Shard(split, key, hashlib.sha256(data).hexdigest(), blocks)


def read_block(store: Store, key: str, group: int) -> pa.Table:
    """Return one block's units, by one range request (and two more for the footer of a shard that is new here).

    Raises:
        CorruptDataError: not what was written.
    """
    size_bytes, footer = _footer(store, key)
    raw = pa.PythonFile(RangeReader(partial(store.get_range, key), size_bytes), mode="r")
    try:
        with pq.ParquetFile(raw, metadata=footer, pre_buffer=True, page_checksum_verification=True) as shard:
            return shard.read_row_group(group, use_threads=False)
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
