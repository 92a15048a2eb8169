"""Origins: the sources that a training's rows come from, planned and checked, and the reading of them range by range."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import orjson
import pyarrow as pa

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.data.sources.base import InputFile, Range, SourcePlan
from raygen.errors import ConfigError, SourceError
from raygen.train.recipe import Recipe

RANGE_ROWS = 512  # held at once as Python values
TASKS = 32  # into which a small source is cut
WIDEST = 64  # ranges that one task reads, at most


@dataclass(frozen=True)
class Origin:
    """One source of the recipe."""

    name: str  # the recipe's key for it
    source: Source
    split: str | None  # where its rows go; None: a hash of the row id says
    inputs: list[InputFile]
    ranges: list[Range]
    first_place: int  # of its first row, among the rows of all origins
    size_bytes: int
    notes: tuple[str, ...] = ()  # worth telling the user

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.ranges)


def plan_origins(recipe: Recipe) -> list[Origin]:
    """Plan all sources and check that they have what the recipe names.

    Raises:
        ConfigError: a column is missing, or not the text that it has to be. SourceError: no rows, unreadable.
    """
    wanted = columns_of(recipe)
    given = (
        ("source", recipe.source, None),
        ("validation_source", recipe.validation_source, "validation"),
        ("test_source", recipe.test_source, "test"),
    )
    origins: list[Origin] = []
    place = 0
    for name, source, split in given:
        if source is None:
            continue
        plan = open_source(source).plan(RANGE_ROWS, wanted)
        _check(plan, name, source, wanted, recipe)
        size_bytes = sum(each.size_bytes for each in plan.inputs)
        note = recipe.objective.note(plan.columns)
        notes = (f"{name} has {note}",) if note is not None else ()
        origins.append(Origin(name, source, split, plan.inputs, plan.ranges, place, size_bytes, notes))
        place += origins[-1].rows
    return origins


def columns_of(recipe: Recipe) -> dict[str, str]:
    """Return the columns that a recipe reads, each with the key that names it. Raises ConfigError: a template is broken."""
    found = recipe.objective.columns()
    for column in recipe.augmentation.columns if recipe.augmentation.copies else ():
        found.setdefault(column, "augmentation.columns")
    return found


def _check(plan: SourcePlan, name: str, source: Source, wanted: dict[str, str], recipe: Recipe) -> None:
    uris = ", ".join(source.uris)
    if not plan.ranges:
        raise SourceError(f"{name}.uri: {uris}: no rows; there is nothing to learn from")
    if not plan.columns:
        raise SourceError(f"{name}.uri: {uris}: none of the first rows can be read as {source.format}")
    for column, where in wanted.items():
        if column not in plan.columns:
            near = difflib.get_close_matches(column, plan.columns, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            seen = " in its first rows" if plan.sampled else ""
            raise ConfigError(
                f"{where}: {name} ({uris}) has no column {column!r}{hint}; columns{seen}: {', '.join(plan.columns)}"
            )
    for template in recipe.objective.templates().values():
        template.check(plan.columns)
    for column in recipe.augmentation.columns if recipe.augmentation.copies else ():
        kind = plan.columns[column]
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise ConfigError(
                f"augmentation.columns: column {column!r} of {name} is {kind}; only text can be changed"
            )


def tasks_of(origins: Sequence[Origin]) -> list[bytes]:
    """Cut all ranges into the inputs of reading tasks. The cut depends on the sources alone."""
    tasks = []
    for number, origin in enumerate(origins):
        size = min(WIDEST, -(-len(origin.ranges) // TASKS))
        place = origin.first_place
        places = {}
        for each in origin.ranges:
            places[each] = place
            place += each.rows
        for group in open_source(origin.source).group(origin.inputs, origin.ranges, size):
            tasks.append(orjson.dumps([number, [[places[each], astuple(each)] for each in group]]))
    return tasks


def read_task(
    origins: Sequence[Origin], task: bytes, columns: Sequence[str]
) -> Iterator[tuple[int, str | None, pa.Table]]:
    """Yield the ranges of a task: the place of the first row, the split of all or None, the rows.

    Raises:
        SourceError: an input is not the planned one any more.
    """
    number, packed = orjson.loads(task)
    origin = origins[number]
    ranges = [Range(*each) for _, each in packed]
    tables = open_source(origin.source).read(origin.inputs, ranges, columns)
    for (place, _), table in zip(packed, tables, strict=True):
        yield place, origin.split, table
