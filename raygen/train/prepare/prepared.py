"""Prepared: what preparation made of the rows, and where it lies. Written last: while it is missing, nothing else counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.storage import Store
from raygen.storage.sealed import read_sealed, seal
from raygen.train.families.base import Block

FOLDER = "prepared/"
KEY = f"{FOLDER}prepared.json"
VERSION = 1
MOST_BROKEN = 100  # broken rows that are listed


@dataclass(frozen=True)
class Prepared:
    """The blocks of every split, and what became of all rows."""

    shards: dict[str, list[str]]  # split -> keys in the run's store
    blocks: dict[str, list[Block]]
    labels: tuple[str, ...] | None
    counts: dict[str, int]  # rows; examples of each split; broken, too_long, duplicates, augmented
    broken: list[dict[str, Any]]  # the first MOST_BROKEN: row_id, code, message
    digest: str  # of all blocks' content, whatever their files are called
    date: str | None = None  # that the base's chat template shows, if it prints one

    def save(self, store: Store) -> None:
        blocks = {
            split: [(b.shard, b.group, b.units, b.cost, b.weight) for b in each]
            for split, each in self.blocks.items()
        }
        store.put(KEY, seal({"version": VERSION, **vars(self), "blocks": blocks}))

    @classmethod
    def load(cls, store: Store) -> Prepared | None:
        """Return what an earlier preparation of this run made, None if none was completed. Raises CorruptDataError."""
        try:
            record = read_sealed(store, KEY)
        except KeyNotFoundError:
            return None
        if record.pop("version") != VERSION:
            raise CorruptDataError(
                f"{store.uri_of(KEY)} is of another version of raygen; remove it to prepare again"
            )
        record["blocks"] = {
            split: [Block(*block) for block in each] for split, each in record["blocks"].items()
        }
        if record["labels"] is not None:
            record["labels"] = tuple(record["labels"])
        return cls(**record)
