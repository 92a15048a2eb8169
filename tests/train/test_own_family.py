"""A family of another package, one file named in full or offered by an entry point, is prepared and trained as any other."""

from __future__ import annotations

import json
import math
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from raygen import registry
from raygen.config.files import validate
from raygen.errors import ConfigError
from raygen.models.families import FAMILIES
from raygen.storage import LocalStore
from raygen.train.families.base import trainer_class
from raygen.train.loop.context import Context
from raygen.train.loop.feed import read_blocks
from raygen.train.loop.training import Training
from raygen.train.prepare.prepare import prepare
from raygen.train.prepare.spread import in_process
from raygen.train.recipe import Recipe
from tests.train.ring import Ring, RingObjective

PLACE = "tests.train.ring:Ring"


def recipe_of(source: Path, family: str = PLACE, **changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": "ring",
        "family": family,
        "base": "none",
        "source": {"format": "jsonl", "uri": str(source), "key": "id"},
        "objective": {"x": "east", "y": "north"},
        "batch": {"points": 24, "micro_points": 6},
        "preparation": {"validation": 0.2},
        "optimizer": {"learning_rate": 0.01},
    }
    return validate(settings | changes, Recipe, "ring.yaml")


def ring_file(path: Path) -> Path:
    turns = [2 * math.pi * (n % 50) / 50 for n in range(60)]  # ten points twice
    rows: list[dict[str, Any]] = [
        {"id": f"p{n}", "east": round(math.cos(t), 6), "north": round(math.sin(t), 6)}
        for n, t in enumerate(turns)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_its_rows_are_prepared_in_its_own_units_and_learnt(tmp_path: Path) -> None:
    recipe = recipe_of(ring_file(tmp_path / "points.jsonl"))
    store = LocalStore(tmp_path / "run")
    prepared = prepare(recipe, tmp_path, store, say=lambda line: None, spread=in_process)
    assert prepared.counts["duplicates"] == 10
    assert prepared.counts["train"] + prepared.counts["validation"] == 50
    blocks = prepared.blocks["train"]
    assert all(block.cost == block.weight == block.units <= 6 for block in blocks)
    read = list(read_blocks(prepared, "train", range(len(blocks)), store))
    assert all(table.schema == trainer_class(PLACE).units.schema for table in read)
    records: list[dict[str, Any]] = []
    where = Context(
        store, lambda split, numbers: read_blocks(prepared, split, numbers, store), board=records.append
    )
    finished = Training(recipe, trainer_class(PLACE)(recipe, tmp_path), prepared.blocks, where).run()
    steps = [record for record in records if "split" not in record]
    assert sum(record["points"] for record in steps) == prepared.counts["train"]
    assert finished["evaluated"]["validation"]["metrics"]["loss"] > 0
    assert (tmp_path / "run" / "model" / "ring.safetensors").exists()


def test_a_package_offers_it_by_an_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    points = [EntryPoint("ring", PLACE, "raygen.families")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == FAMILIES.group else [])
    monkeypatch.delitem(vars(FAMILIES), "_offered", raising=False)
    try:
        recipe = recipe_of(tmp_path, "ring")
        assert isinstance(recipe.objective, RingObjective)
        assert FAMILIES.load("ring") is Ring
    finally:
        vars(FAMILIES).pop("_offered", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"x": "east", "north": "y"}}, "objective.y: missing.* | objective.north: unknown key"),
        ({"batch": {"tokens": 128}}, "batch.tokens: unknown key; allowed: points, micro_points"),
        ({"family": "tests.train.ring:PointBatch"}, "not a subclass of raygen.models.families.Family"),
        ({"family": "tests.train.nowhere:Ring"}, "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_its_recipe_is_refused_by_its_own_keys(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_of(tmp_path, **changes)
