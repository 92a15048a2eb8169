"""Context: what a step, a check or a score may know of the job that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raygen.config.sink import MAX_SAMPLE_BYTES

if TYPE_CHECKING:
    from raygen.config.model import ModelSpec
    from raygen.steps.spec import Step


@dataclass(frozen=True, slots=True)
class Context:
    """The part of a job that its steps depend on: plain data, the same wherever the step runs.

    Attributes:
        seed: the run's; every sample's seed is derived from it.
        models: by the job's names for them.
        steps: all of the job's, as they are described, in their order.
        padded: whether the source's format fills objects up with nulls to one shape, as Parquet does.
        max_sample_bytes: the largest medium that is kept; a larger one fails its row.
    """

    seed: int
    models: Mapping[str, ModelSpec]
    steps: Sequence[Step]
    padded: bool = False
    max_sample_bytes: int = MAX_SAMPLE_BYTES
