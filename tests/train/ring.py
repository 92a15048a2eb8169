"""A family of another package, in one file: a generator of points on a ring, taught by a discriminator (a GAN).

Named in full in a recipe: `family: "tests.train.ring:Ring"`. Its unit is the point; a step has two phases.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import softplus

from raygen.errors import RowError
from raygen.models.families import Family
from raygen.train.families.base import Evaluated, Meter, Phase, Trainer
from raygen.train.families.lessons import Batch, Objective
from raygen.train.families.units import Units


class Ring(Family):
    trainer = "tests.train.ring:RingTrainer"
    objective = "tests.train.ring:RingObjective"
    usage = "a generator of points: {model}"


class PointBatch(Batch):
    unit: ClassVar[str] = "points"
    STEP: ClassVar[str] = "points"
    BLOCK: ClassVar[str] = "micro_points"

    points: int = Field(32, ge=1)
    micro_points: int = Field(8, ge=1)


class RingObjective(Objective):
    Batch: ClassVar[type[Batch]] = PointBatch
    COLUMNS: ClassVar[tuple[str, ...]] = ("x", "y")

    x: str
    y: str


@dataclass
class Point:
    row_id: str
    x: float
    y: float


class Points(Units):
    columns = pa.schema([("x", pa.float32()), ("y", pa.float32())])
    schema = pa.schema([("row_ids", pa.list_(pa.string())), *columns])

    def record(self, example: Point) -> dict[str, Any]:
        return {"x": example.x, "y": example.y}

    def content(self, example: Point) -> tuple[bytes, bytes]:
        return f"{example.x} {example.y}".encode(), b""

    def costs(self, encoded: pa.Table) -> list[int]:
        return [1] * encoded.num_rows

    def unite(self, encoded: pa.Table, block: Sequence[Sequence[int]]) -> pa.Table:
        rows = encoded.take([unit[0] for unit in block]).to_pylist()
        units = [{"row_ids": [row["row_id"]], "x": row["x"], "y": row["y"]} for row in rows]
        return pa.Table.from_pylist(units, schema=self.schema)

    def measure(self, units: pa.Table) -> tuple[int, int]:
        return units.num_rows, units.num_rows


def layers(out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, out))


class RingTrainer(Trainer):
    units = Points()
    PHASES = ("discriminator", "generator")
    every = 1  # of the generator's phase

    def encode(self, row_id: str, row: Mapping[str, Any]) -> Point:
        objective: Any = self.recipe.objective
        x, y = row[objective.x], row[objective.y]
        if x is None or y is None:
            raise RowError("missing_value", "a point has two coordinates")
        return Point(row_id, x, y)

    def load_model(self, device: torch.device) -> nn.Module:
        torch.manual_seed(self.recipe.seed)
        return nn.ModuleDict({"generator": layers(2), "discriminator": layers(1)}).to(device)

    def phases(self, model: nn.Module) -> list[Phase]:
        parts = {
            name: {each: weight for each, weight in model.named_parameters() if each.startswith(name)}
            for name in self.PHASES
        }
        return [
            Phase("discriminator", parts["discriminator"], self.loss),
            Phase("generator", parts["generator"], self.fooled, self.every),
        ]

    def collate(self, block: pa.Table, device: torch.device) -> dict[str, torch.Tensor]:
        points = torch.stack([torch.tensor(block.column(name).to_pylist()) for name in "xy"], 1)
        return {"points": points.to(device)}

    def loss(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        real = batch["points"]
        made = model["generator"](torch.randn_like(real)).detach()
        judge = model["discriminator"]
        return softplus(-judge(real)).sum() + softplus(judge(made)).sum()

    def fooled(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        made = model["generator"](torch.randn_like(batch["points"]))
        return softplus(-model["discriminator"](made)).sum()

    def new_meter(self) -> Meter:
        return RadiusMeter()

    def save(self, model: nn.Module, directory: Path, temperature: float | None = None) -> None:
        weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
        save_file(weights, directory / "ring.safetensors")


class RadiusMeter(Meter):
    """`loss`: how far from the ring of radius 1 the points lie that are made."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, model: Any, block: pa.Table, device: torch.device) -> None:
        ids = str(block.column("row_ids").to_pylist()).encode()
        chance = torch.Generator().manual_seed(zlib.crc32(ids))
        made = model["generator"](torch.randn(block.num_rows, 2, generator=chance))
        self._sum += float((made.norm(dim=1) - 1).abs().double().sum())
        self._count += block.num_rows

    def state(self) -> Any:
        return self._sum, self._count

    def merge(self, state: Any) -> None:
        self._sum, self._count = self._sum + state[0], self._count + state[1]

    def result(self, temperature: float | None = None) -> Evaluated:
        return Evaluated({"loss": self._sum / max(1, self._count)})
