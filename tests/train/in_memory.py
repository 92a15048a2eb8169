"""Trainings in memory: rows to blocks and a feed without files, tiny bases, and recipes for them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from raygen.train.families.base import Block, Trainer, trainer_class
from raygen.train.families.text_units import UNITS, TextExample
from raygen.train.recipe import Recipe
from tests.fakes.tiny_encoders import save_encoder, tiny_encoder
from tests.fakes.tiny_llama import save_tiny, tiny_model

WORDS = ["the", "cat", "an", "ant", "in", "thin", "tan", "hat", "is", "and"]
WORDS += ["was", "then", "near", "by", "old", "new", "red", "one", "two", "six"]


def recipe_of(base: Path, **changes: Any) -> Recipe:
    """A recipe of small batches; `changes` by section."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "family": "causal_lm",
        "base": str(base),
        "source": {"format": "jsonl", "uri": "rows.jsonl"},
        "objective": {"prompt": "{{ q }}", "completion": "{{ a }}"},
        "batch": {"tokens": 128, "micro_tokens": 64, "max_tokens": 32},
        "optimizer": {"learning_rate": 5e-3},
        "evaluation": {"every_steps": 100},
        "checkpoints": {"every_steps": 100},
        "epochs": 2,
        "seed": 3,
    }
    return Recipe.model_validate(settings | changes)


def labelled(base: Path, **changes: Any) -> Recipe:
    objective = {"text": "{{ a }}", "pair": "{{ b }}", "label": "label", "labels": ["no", "perhaps", "yes"]}
    return recipe_of(base, **{"family": "classifier", "objective": objective} | changes)


def questions(count: int) -> list[dict[str, Any]]:
    return [
        {"q": f"{WORDS[n % 20]} {WORDS[n % 7]}?", "a": " ".join(WORDS[n % 5 : n % 5 + 1 + n % 3])}
        for n in range(count)
    ]


def pairs(count: int) -> list[dict[str, Any]]:
    """Pairs whose label their texts give away."""
    return [{"a": WORDS[n % 20], "b": "x" * (1 + 3 * (n % 3)), "label": n % 3} for n in range(count)]


def llama(folder: Path, **changes: Any) -> Path:
    return save_tiny(folder, tiny_model(**changes))


def bert(folder: Path, **changes: Any) -> Path:
    return save_encoder(folder, tiny_encoder("bert", **changes))


def trainer_of(recipe: Recipe, labels: tuple[str, ...] | None = None) -> Trainer:
    return trainer_class(recipe.family)(recipe, Path(recipe.base), labels)


def unit_of(examples: Sequence[TextExample]) -> dict[str, Any]:
    return {
        "row_ids": [example.row_id for example in examples],
        "input_ids": [token for example in examples for token in example.input_ids],
        "targets": [target for example in examples for target in example.targets],
        "type_ids": [kind for example in examples for kind in example.type_ids],
        "lengths": [len(example.input_ids) for example in examples],
    }


def table_of(units: Sequence[Sequence[TextExample]]) -> pa.Table:
    return pa.Table.from_pylist([unit_of(unit) for unit in units], schema=UNITS)


def tables_of(
    recipe: Recipe, trainer: Trainer, rows: Sequence[Mapping[str, Any]], name: str
) -> list[pa.Table]:
    units = trainer.units
    examples = [trainer.encode(f"{name}-{n}", row) for n, row in enumerate(rows)]
    encoded = pa.Table.from_pylist(
        [{"row_id": example.row_id, **units.record(example)} for example in examples],
        schema=pa.schema([("row_id", pa.string()), *units.columns]),
    )
    blocks = units.blocks(units.costs(encoded), recipe.batch, packs=trainer.packs)
    return [units.unite(encoded, block) for block in blocks]


def block_of(trainer: Trainer, number: int, table: pa.Table) -> Block:
    return Block(0, number, table.num_rows, *trainer.units.measure(table))


def child(function: Callable[..., None], *arguments: Any) -> Any:
    """Start a process of its own; forked from a server without threads, since a fork does not take threads along."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "peft",
            "raygen.train.families.causal_lm",
            "raygen.train.families.classifier",
            "raygen.train.loop.training",
        ]
    )
    process = context.Process(target=_with_environment, args=(dict(os.environ), function, *arguments))
    process.start()
    return process


def _with_environment(environment: dict[str, str], function: Callable[..., None], *arguments: Any) -> None:
    """The server has the environment of the test that needed it first."""
    os.environ.clear()
    os.environ.update(environment)
    function(*arguments)


class InMemory:
    """Blocks of every split, and their feed."""

    def __init__(self, recipe: Recipe, trainer: Trainer, **splits: Sequence[Mapping[str, Any]]) -> None:
        self.tables = {split: tables_of(recipe, trainer, rows, split) for split, rows in splits.items()}
        self.blocks = {
            split: [block_of(trainer, number, table) for number, table in enumerate(tables)]
            for split, tables in self.tables.items()
        }
        self.watch: Callable[[str, int], None] = lambda split, number: None

    def feed(self, split: str, numbers: Sequence[int]) -> Iterator[pa.Table]:
        for number in numbers:
            self.watch(split, number)
            yield self.tables[split][number]
