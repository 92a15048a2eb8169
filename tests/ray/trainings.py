"""Trainings of tiny models: their sources, their recipes, and what they said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from raygen.storage import LocalStore, open_store
from raygen.train.families.base import trainer_class
from raygen.train.loop.context import Context
from raygen.train.loop.feed import read_blocks
from raygen.train.loop.records import is_evaluation, read_metrics
from raygen.train.loop.training import Training
from raygen.train.prepare.prepared import Prepared
from raygen.train.recipe import Recipe
from tests.fakes.tiny_llama import save_tiny, tiny_model

ROWS = 240


def write_recipe(folder: Path, **changes: Any) -> Path:
    """Write a base model with dropout, a source and a recipe over them; keyword arguments replace top-level keys.

    48 steps, with a checkpoint every five. The run is `folder/run`.
    """
    if not (folder / "base").exists():
        save_tiny(folder / "base", tiny_model(attention_dropout=0.1))
        numbers = range(ROWS)
        rows = {
            "id": [f"p{n}" for n in numbers],
            "text": [f"passage {n} has some words, and its number is {n * 7 % 13}" for n in numbers],
        }
        pq.write_table(pa.table(rows), folder / "rows.parquet")
    recipe = {
        "name": "case",
        "family": "causal_lm",
        "base": str(folder / "base"),
        "source": {"format": "parquet", "uri": str(folder / "rows.parquet"), "key": "id"},
        "objective": {"text": "{{ text }}"},
        "optimizer": {"learning_rate": 1e-3},
        "batch": {"tokens": 600, "micro_tokens": 160, "max_tokens": 128},
        "epochs": 3,
        "workers": 2,
        "threads": 1,
        "checkpoints": {"every_steps": 5},
        "evaluation": {"every_steps": 20},
        "seed": 11,
        "output": str(folder / "run"),
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def losses(run: Path) -> list[tuple[int, float]]:
    """Step and loss of every step, as the metrics log has them."""
    return [
        (record["step"], record["loss"])
        for record in read_metrics(LocalStore(run))
        if not is_evaluation(record)
    ]


def checkpoints(run: Path) -> list[int]:
    """The steps of the checkpoints that count."""
    return sorted(int(path.parent.name) for path in run.glob("checkpoints/*/digests.json"))


def losses_alone(recipe: Recipe) -> list[tuple[int, float]]:
    """The same of a training in this process, over the blocks that the recipe's run has prepared."""
    store = open_store(recipe.output_uri)
    prepared = Prepared.load(store)
    assert prepared is not None
    trainer = trainer_class(recipe.family)(recipe, Path(recipe.base), prepared.labels)
    said: list[dict[str, Any]] = []
    context = Context(
        store=LocalStore(f"{store.uri}-alone"),
        feed=lambda split, numbers: read_blocks(prepared, split, numbers, store),
        board=said.append,
    )
    Training(recipe, trainer, prepared.blocks, context).run()
    return [(record["step"], record["loss"]) for record in said if not is_evaluation(record)]
