"""Step: what the next pass computes, as the scheduler decides it."""

from __future__ import annotations

from dataclasses import dataclass, field

from raygen.engines.torch.memory.prefixes import Node
from raygen.engines.torch.sample import Sample


@dataclass(slots=True)
class Piece:
    """Positions `start` to `stop` of a sample's prompt."""

    sample: Sample
    start: int
    stop: int


@dataclass(slots=True)
class Step:
    """What the next pass computes. A sample's place is settled before: slots do not move within a step."""

    decode: list[Sample] = field(default_factory=list)  # by place
    pieces: list[Piece] = field(default_factory=list)
    loads: list[tuple[Sample, list[Node]]] = field(
        default_factory=list
    )  # blocks to copy into a slot's beginning

    def __bool__(self) -> bool:
        return bool(self.decode or self.pieces)
