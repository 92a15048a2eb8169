"""Preparation: from rows of sources to blocks of units, once before a training. Its memory does not grow with the source.

    ranges of rows -> encode (tasks) -> parts, sliced by digest -> settle, pack (tasks, a bucket each) -> shards

A preparation that was killed begins again: nothing counts before prepared.json is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from raygen.errors import SourceError
from raygen.formatting import count
from raygen.messages import Say
from raygen.models.text.chat_template import reads_clock
from raygen.storage import Store
from raygen.storage.sealed import digest_of
from raygen.train.families.base import SPLITS, Block, trainer_class
from raygen.train.prepare.encoding import (
    MOST_LABELS,
    Counting,
    Encoded,
    Encoding,
    too_many_labels,
    trainer_of,
)
from raygen.train.prepare.origins import Origin, plan_origins, tasks_of
from raygen.train.prepare.parts import Part, Parts
from raygen.train.prepare.prepared import FOLDER, MOST_BROKEN, Prepared
from raygen.train.prepare.shards import Finished, Finishing, Settling, Shard
from raygen.train.prepare.spread import Spread, on_ray
from raygen.train.recipe import Recipe

BUDGET_BYTES = 64 * 2**20  # of encoded rows that a task holds at once
GROWTH = 8  # encoded bytes a byte of source, about: what the number of slices is planned for
FINER = 4  # slices to a bucket: they are put together by what they turn out to hold
MOST_SLICES = 8192
SHOWN = 5  # broken rows that an error names

Progress = Callable[[int, int], None]


def prepare(
    recipe: Recipe,
    directory: Path,
    store: Store,
    *,
    say: Say,
    progress: Progress | None = None,
    spread: Spread = on_ray,
    budget_bytes: int = BUDGET_BYTES,
) -> Prepared:
    """Prepare a run's examples, or find them prepared.

    Args:
        directory: the resolved base.
        store: the run directory.
        progress: told (rows encoded, rows) now and then.
        spread: how the work is laid over processes; Ray has to be connected for the default.
        budget_bytes: of encoded rows that one task holds; the number of buckets follows from it.

    Raises:
        ConfigError: a column is missing, labels out of range. SourceError: no rows, too many broken ones, an empty split.
    """
    found = Prepared.load(store)
    if found is None:
        found = _Preparation(recipe, directory, store, spread, budget_bytes, say, progress).run()
    return found


class _Preparation:
    def __init__(
        self, recipe: Recipe, directory: Path, store: Store, spread: Spread, budget_bytes: int, say: Say,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        if recipe.objective.writes_chats and recipe.date is None:  # every task writes chats of the same day
            recipe = recipe.model_copy(update={"date": datetime.now(UTC).date()})
        self._recipe = recipe
        self._units = trainer_class(recipe.family).units
        self._directory = str(directory)
        self._store = store
        self._spread = spread
        self._budget_bytes = budget_bytes
        self._say = say
        self._progress = progress or (lambda done, of: None)
        self._counts: Counter[str] = Counter()
        self._broken: list[tuple[int, str, str, str]] = []

    def run(self) -> Prepared:
        self._clear(keep=())  # what a killed one left
        origins = plan_origins(self._recipe)
        rows = sum(origin.rows for origin in origins)
        for note in (note for origin in origins for note in origin.notes):
            self._say(note)
        self._say(f"preparing {count(rows, 'row')}")
        tasks = tasks_of(origins)
        labels = self._labels(origins, tasks)
        slices = self._slices(origins)
        parts = self._encode(origins, tasks, labels, slices, rows)
        shards = self._finish(parts, labels, slices)
        self._check_splits()
        prepared = self._prepared(shards, labels)
        self._clear(keep={key for keys in prepared.shards.values() for key in keys})
        prepared.save(self._store)
        self._say(self._summary())
        return prepared

    def _labels(self, origins: list[Origin], tasks: list[bytes]) -> tuple[str, ...] | None:
        """Find the labels of a classifier. Raises ConfigError."""
        objective = self._recipe.objective
        column = objective.label_column
        if column is None or objective.given_labels is not None:
            return objective.given_labels
        values: Counter[Any] = Counter()
        for counted in self._spread(Counting(self._recipe, origins), tasks):
            for value, number in orjson.loads(counted):
                values[value] += number
            if len(values) > MOST_LABELS:
                raise too_many_labels(column)
        return trainer_of(self._recipe, self._directory, None).find_labels(values)

    def _slices(self, origins: list[Origin]) -> int:
        """Return into how many slices parts are cut: one for what surely fits a task."""
        encoded = (
            sum(origin.size_bytes for origin in origins) * GROWTH * (1 + self._recipe.augmentation.copies)
        )
        if encoded <= self._budget_bytes:
            return 1
        return min(MOST_SLICES, FINER * -(-encoded // self._budget_bytes))

    def _encode(
        self,
        origins: list[Origin],
        tasks: list[bytes],
        labels: tuple[str, ...] | None,
        slices: int,
        rows: int,
    ) -> Parts:
        work = Encoding(
            self._recipe, self._directory, labels, origins, self._store, slices, self._budget_bytes // 2
        )
        counts = self._counts
        parts = Parts(slices)
        for each in map(Encoded.of, self._spread(work, tasks)):
            counts.update(
                rows=each.rows, too_long=each.too_long, broken=each.broken, duplicates=each.duplicates
            )
            self._broken = sorted(self._broken + each.listed)[:MOST_BROKEN]
            for part in each.parts:
                parts.add(part)
            self._progress(counts["rows"], rows)
            self._check_broken(rows)
        return parts

    def _settle(self, parts: Parts, slices: int) -> Parts:
        """Take duplicates out, and put copies where those like them are."""
        settled = Parts(slices)
        work = Settling(self._recipe, self._units, self._store, parts.keys, slices)
        for found in self._spread(work, self._buckets(parts)):
            record = orjson.loads(found)
            self._counts.update(duplicates=record["duplicates"])
            for part in record["parts"]:
                settled.add(Part(**part))
        return settled

    def _finish(self, parts: Parts, labels: tuple[str, ...] | None, slices: int) -> list[Shard]:
        recipe = self._recipe
        packs = trainer_of(recipe, self._directory, labels).packs
        # Where there is one bucket, or there are no copies, one look at a bucket tells all.
        apart = bool(slices > 1 and recipe.augmentation.copies and recipe.preparation.deduplicate)
        if apart:
            parts = self._settle(parts, slices)
        work = Finishing(recipe, self._units, packs, apart, self._store, parts.keys)
        shards: list[Shard] = []
        for each in map(Finished.of, self._spread(work, self._buckets(parts))):
            self._counts.update(each.examples)
            self._counts.update(duplicates=each.duplicates, augmented=each.augmented)
            shards += each.shards
        return sorted(shards, key=lambda shard: shard.digest)  # by content: tasks end in any order

    def _buckets(self, parts: Parts) -> list[bytes]:
        return [orjson.dumps(each) for each in parts.buckets(self._budget_bytes)]

    def _prepared(self, shards: list[Shard], labels: tuple[str, ...] | None) -> Prepared:
        keys: dict[str, list[str]] = {split: [] for split in SPLITS}
        blocks: dict[str, list[Block]] = {split: [] for split in SPLITS}
        for shard in shards:
            number = len(keys[shard.split])
            keys[shard.split].append(shard.key)
            blocks[shard.split] += [Block(number, group, *each) for group, each in enumerate(shard.blocks)]
        names = ("rows", *SPLITS, "broken", "too_long", "duplicates", "augmented")
        broken = [{"row_id": row, "code": code, "message": text} for _, row, code, text in self._broken]
        digest = digest_of({"labels": labels, "shards": [(shard.split, shard.digest) for shard in shards]})
        counts = {name: self._counts[name] for name in names}
        date = self._recipe.date
        shown = str(date) if date is not None and reads_clock(Path(self._directory)) else None
        return Prepared(keys, blocks, labels, counts, broken, digest, shown)

    def _check_broken(self, rows: int) -> None:
        """Refuse too many broken rows, as soon as that is certain. Raises SourceError."""
        broken, bound = self._counts["broken"], self._recipe.preparation.max_broken
        if broken > bound * rows:
            some = "; ".join(f"{row} ({code}: {text})" for _, row, code, text in self._broken[:SHOWN])
            so_far = "" if self._counts["rows"] == rows else f" (after {self._counts['rows']:,})"
            raise SourceError(
                f"{broken:,} of {count(rows, 'row')} {'is' if broken == 1 else 'are'} broken{so_far}, "
                f"more than preparation.max_broken = {bound:g} allows: "
                f"{some}{'; ...' if broken > SHOWN else ''}. Mend them, or allow more"
            )

    def _check_splits(self) -> None:
        preparation = self._recipe.preparation
        needed = {"train": "source", "validation": "validation_source or preparation.validation"}
        if preparation.test or self._recipe.test_source is not None:
            needed["test"] = "test_source or preparation.test"
        for split, key in needed.items():
            if not self._counts[split]:
                raise SourceError(f"the {split} split is empty: {self._summary()}. Give it more rows: {key}")

    def _summary(self) -> str:
        counts, batch = self._counts, self._recipe.batch
        splits = ", ".join(
            f"{counts[split]:,} {split}" for split in SPLITS if counts[split] or split != "test"
        )
        left_out = ", ".join(
            f"{counts[name]:,} {words}"
            for name, words in (
                ("duplicates", "duplicates"),
                (
                    "too_long",
                    f"of more than {batch.unit_cost} {batch.unit} (batch.{batch.LONGEST or batch.BLOCK})",
                ),
                ("broken", "broken"),
            )
            if counts[name]
        )
        copies = f" ({counts['augmented']:,} of them changed copies)" if counts["augmented"] else ""
        return f"{count(counts['rows'], 'row makes', 'rows make')} {splits} examples{copies}" + (
            f"; left out: {left_out}" if left_out else ""
        )

    def _clear(self, keep: set[str] | tuple[()]) -> None:
        """Remove parts, and shards of tasks that Ray ran twice."""
        for info in list(self._store.list(FOLDER)):
            if info.key not in keep:
                self._store.delete(info.key)
