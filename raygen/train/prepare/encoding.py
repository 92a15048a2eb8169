"""Encoding: the first pass of preparation, as its tasks do it. Rows of a source become encoded rows in parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from raygen.data.sources.base import ERROR_CODE, ERROR_MESSAGE, ROW_ID, rows_of
from raygen.errors import ConfigError, RowError
from raygen.storage import Store
from raygen.train.families.base import SPLITS, Trainer, trainer_class
from raygen.train.families.units import Example, Units
from raygen.train.prepare.alike import digests, encoded_schema, settle
from raygen.train.prepare.origins import Origin, columns_of, read_task
from raygen.train.prepare.parts import Part, write_part
from raygen.train.prepare.prepared import MOST_BROKEN
from raygen.train.prepare.text_rows import changed_copy, normalise, split_of
from raygen.train.recipe import Recipe

MOST_LABELS = 1000
MAX_MESSAGE = 300  # characters of an error's message that are kept


@dataclass
class Encoded:
    """What a task found and wrote."""

    rows: int = 0
    too_long: int = 0
    duplicates: int = 0
    broken: int = 0
    listed: list[tuple[int, str, str, str]] = field(default_factory=list)  # place, row id, code, message
    parts: list[Part] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes) -> Encoded:
        record = orjson.loads(data)
        record["parts"] = [Part(**part) for part in record["parts"]]
        return cls(**record)


@dataclass(frozen=True)
class Encoding:
    """The work of the pass: a task of ranges in, `Encoded` out, both as JSON."""

    recipe: Recipe
    directory: str
    labels: tuple[str, ...] | None
    origins: list[Origin]
    store: Store
    slices: int
    flush_bytes: int  # of encoded rows: the size of a part

    def __call__(self, task: bytes) -> bytes:
        found = Encoded()
        schema = encoded_schema(trainer_class(self.recipe.family).units)
        held: list[pa.Table] = []
        wanted = list(columns_of(self.recipe))
        for place, split, table in read_task(self.origins, task, wanted):
            encoded = list(self._encode(table, wanted, place, split, found))
            held.append(pa.Table.from_pylist(encoded, schema=schema))
            if sum(each.nbytes for each in held) >= self.flush_bytes:
                self._flush(schema, held, found)
        self._flush(schema, held, found)
        return orjson.dumps(asdict(found))

    def _flush(self, schema: pa.Schema, held: list[pa.Table], found: Encoded) -> None:
        encoded = pa.concat_tables([schema.empty_table(), *held])
        held.clear()
        if self.recipe.preparation.deduplicate:
            encoded, dropped = settle(encoded)  # a text that fills half the source is held once from here on
            found.duplicates += dropped
        if encoded.num_rows:
            found.parts.append(write_part(self.store, encoded, "origin", self.slices))

    def _encode(
        self, table: pa.Table, wanted: Sequence[str], place: int, split: str | None, found: Encoded
    ) -> Iterator[dict[str, Any]]:
        """Yield a range's rows and their copies as rows of ENCODED; count what is left out."""
        trainer = trainer_of(self.recipe, self.directory, self.labels)
        preparation = self.recipe.preparation
        codes, messages = table.column(ERROR_CODE).to_pylist(), table.column(ERROR_MESSAGE).to_pylist()
        for i, (row_id, row) in enumerate(
            zip(table.column(ROW_ID).to_pylist(), rows_of(table, wanted), strict=True)
        ):
            found.rows += 1
            try:
                if codes[i] is not None:
                    raise RowError(codes[i], messages[i])
                row = normalise(row) if preparation.normalise else row
                example = encode(trainer, row_id, row)
            except RowError as error:
                if error.code == "too_long":
                    found.too_long += 1
                    continue
                found.broken += 1
                if len(found.listed) < MOST_BROKEN:
                    found.listed.append((place + i, row_id, error.code, error.message[:MAX_MESSAGE]))
                continue
            where = split or split_of(row_id, preparation.validation, preparation.test)
            yield from self._records(trainer, example, row, place + i, where)

    def _records(
        self, trainer: Trainer, example: Example, row: Mapping[str, Any], place: int, split: str
    ) -> Iterator[dict[str, Any]]:
        units = trainer.units
        origin, answer = digests(units, example, self.recipe.seed)
        shared = {"place": place, "split": SPLITS.index(split), "origin": origin}
        yield shared | _record(units, example, 0, origin, answer)
        how = self.recipe.augmentation
        for copy in range(1, how.copies + 1) if split == SPLITS[0] else ():
            changed = changed_copy(row, example.row_id, copy, self.recipe.seed, how)
            try:
                other = encode(trainer, f"{example.row_id}~{copy}", changed)
            except RowError:
                continue  # the change took what made it an example
            digest, answer = digests(units, other, self.recipe.seed)
            if digest != origin:
                yield shared | _record(units, other, copy, digest, answer)


def _record(units: Units, example: Example, copy: int, digest: bytes, answer: int) -> dict[str, Any]:
    return {
        "copy": copy,
        "digest": digest,
        "answer": answer,
        "row_id": example.row_id,
        **units.record(example),
    }


def encode(trainer: Trainer, row_id: str, row: Mapping[str, Any]) -> Example:
    """Tokenise a row. Raises RowError, also for an unforeseen error: a bug that one row meets must not take others with it."""
    try:
        return trainer.encode(row_id, row)
    except RowError:
        raise
    except Exception as error:
        raise RowError("internal_error", f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Counting:
    """The work of finding labels: a task of ranges in, the values of the label column with their numbers out."""

    recipe: Recipe
    origins: list[Origin]

    def __call__(self, task: bytes) -> bytes:
        column = self.recipe.objective.label_column
        assert column is not None
        found: Counter[Any] = Counter()
        for _, _, table in read_task(self.origins, task, [column]):
            for row in rows_of(table, [column]):
                value = row.get(column)
                if isinstance(value, str | int | float):
                    found[normalise(value) if self.recipe.preparation.normalise else value] += 1
            if len(found) > MOST_LABELS:
                raise too_many_labels(column)
        return orjson.dumps(list(found.items()))


def too_many_labels(column: str) -> ConfigError:
    """Return the error for a column that holds too many different labels."""
    return ConfigError(
        f"objective.label: column {column!r} holds more than {MOST_LABELS} different values; "
        "a label is one of a few classes"
    )


def trainer_of(recipe: Recipe, directory: str, labels: tuple[str, ...] | None) -> Trainer:
    """Return the trainer, built once in each process: tokenizers take a while to load."""
    return _built(recipe.model_dump_json(), directory, labels)


@lru_cache(maxsize=2)
def _built(recipe_json: str, directory: str, labels: tuple[str, ...] | None) -> Trainer:
    recipe = Recipe.model_validate_json(recipe_json)
    return trainer_class(recipe.family)(recipe, base_here(recipe, directory), labels)


def base_here(recipe: Recipe, directory: str) -> Path:
    """Return the base on this node: where the driver found it, or fetched by its reference. Raises ModelReferenceError."""
    if Path(directory).is_dir():
        return Path(directory)
    from raygen.models.fetch.reference import resolve

    return resolve(recipe.base, recipe.source.storage).path
