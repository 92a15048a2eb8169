"""Text units: examples of tokens and targets, short ones packed into sequences; what they cost is tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raygen.train.families.packing import Unit
from raygen.train.families.units import Units

IGNORED = -100  # a target that bears no loss; torch's own default

_IDS = pa.list_(pa.int32())

UNITS = pa.schema(
    [
        # The ids of its examples, in order.
        ("row_ids", pa.list_(pa.string())),
        ("input_ids", _IDS),
        # Of a causal LM: one a token, which the loss shifts. Of a classifier: one label.
        ("targets", _IDS),
        # The segment of each token, for models that know two; else empty.
        ("type_ids", _IDS),
        # Tokens of each of its examples.
        ("lengths", _IDS),
    ]
)


@dataclass(slots=True)
class TextExample:
    """A row as tokens, and what is to be learnt of them."""

    row_id: str
    input_ids: list[int]
    targets: list[int]  # see UNITS
    type_ids: list[int] = field(default_factory=list)


class TextUnits(Units):
    """Units of tokens. A block's cost is its number of units times the tokens of its longest; its weight, its targets."""

    columns: ClassVar[pa.Schema] = pa.schema([(name, _IDS) for name in ("input_ids", "targets", "type_ids")])
    schema: ClassVar[pa.Schema] = UNITS

    def record(self, example: TextExample) -> dict[str, Any]:
        return {
            "input_ids": example.input_ids,
            "targets": example.targets,
            "type_ids": example.type_ids,
        }

    def content(self, example: TextExample) -> tuple[bytes, bytes]:
        return _bytes(example.input_ids) + b"/" + _bytes(example.type_ids), _bytes(example.targets)

    def costs(self, encoded: pa.Table) -> list[int]:
        costs: list[int] = pc.list_value_length(encoded.column("input_ids")).to_pylist()
        return costs

    def unite(self, encoded: pa.Table, block: Sequence[Unit]) -> pa.Table:
        """Return a block's units: the lists of a unit's examples, end to end."""
        rows = encoded.take(pa.array([i for unit in block for i in unit])).combine_chunks()
        ends = np.cumsum([0, *map(len, block)])  # which of the rows are whose
        columns: dict[str, Any] = {}
        for name in self.columns.names:
            lists = rows.column(name).chunk(0)
            offsets = lists.offsets.to_numpy()
            columns[name] = pa.ListArray.from_arrays(pa.array(offsets[ends]), lists.values)
        starts = pa.array(ends, pa.int32())
        columns["row_ids"] = pa.ListArray.from_arrays(starts, rows.column("row_id").chunk(0))
        lengths = pc.list_value_length(rows.column("input_ids").chunk(0))
        columns["lengths"] = pa.ListArray.from_arrays(starts, lengths)
        return pa.table({name: columns[name] for name in UNITS.names}, schema=UNITS)

    def measure(self, units: pa.Table) -> tuple[int, int]:
        targets = units.column("targets").combine_chunks().flatten().to_numpy()
        return units.num_rows * _longest(units), int(np.count_nonzero(targets != IGNORED))

    def describe(self, units: pa.Table) -> str:
        return f"{units.num_rows} sequences of up to {_longest(units)} tokens"


def _longest(units: pa.Table) -> int:
    """Return the tokens of a block's longest unit."""
    return pc.max(pc.list_value_length(units.column("input_ids"))).as_py() or 0


def _bytes(numbers: list[int]) -> bytes:
    return np.asarray(numbers, np.int32).tobytes()
