"""Units: how a family's examples are kept, from encoded rows to blocks: their columns, what makes two alike, their cost.

A row becomes an example. Examples become units: several packed into one, or each by itself. A block is some units that are
computed at once, stored as one row group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from raygen.train.families.lessons import Batch
from raygen.train.families.packing import Unit, blocks_of


class Example(Protocol):
    """A row, ready to learn from; what else it has is its family's business."""

    row_id: str


class Units(ABC):
    """How one kind of example is stored, compared, and put into blocks. It holds no state."""

    # The columns of an encoded example, beside its row_id.
    columns: ClassVar[pa.Schema]
    # The columns of a unit. The first is `row_ids`: a list of the ids of its examples, in order.
    schema: ClassVar[pa.Schema]
    # Memory of what costs 1, about, in bytes. Blocks are read ahead up to a bound.
    cost_bytes: ClassVar[float] = 10

    @abstractmethod
    def record(self, example: Any) -> dict[str, Any]:
        """Return an example as a row of `columns`."""

    @abstractmethod
    def content(self, example: Any) -> tuple[bytes, bytes]:
        """Return what goes in and what is to come out, as bytes: examples with the same input are alike.

        Of examples with the same input, one stays for each different output.
        """

    @abstractmethod
    def costs(self, encoded: pa.Table) -> list[int]:
        """Return what each example costs, in the unit of the recipe's batch, at most `batch.unit_cost`."""

    def blocks(self, costs: Sequence[int], batch: Batch, *, packs: bool) -> Iterator[list[Unit]]:
        """Yield blocks of units, as positions of their examples; see raygen.train.families.packing.

        Args:
            packs: whether several examples may share a unit.
        """
        return blocks_of(costs, packs=packs, most=batch.unit_cost, block_cost=batch.block_cost)

    @abstractmethod
    def unite(self, encoded: pa.Table, block: Sequence[Unit]) -> pa.Table:
        """Return a block's units, in `schema`.

        Args:
            encoded: rows with `row_id` and `columns`.
            block: of each unit, the positions of its examples.
        """

    @abstractmethod
    def measure(self, units: pa.Table) -> tuple[int, int]:
        """Return what a block costs to compute, padding included; and its weight, by which a step's loss is divided."""

    def describe(self, units: pa.Table) -> str:
        """Return how large a block is, for the message when memory runs out: `3 sequences of up to 40 tokens`."""
        return f"{units.num_rows} examples"
