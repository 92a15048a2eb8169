"""Execution: where and how wide a run works, and when it stops early; no part of what is generated."""

from __future__ import annotations

from pydantic import Field, field_validator

from raygen.config.base import Frozen
from raygen.config.tolerance import Tolerance


def ordered(replicas: tuple[int, int]) -> tuple[int, int]:
    """Check the fewest and the most. Raises ValueError."""
    low, high = replicas
    if not 1 <= low <= high <= 10_000:
        raise ValueError("replicas is [min, max] with 1 <= min <= max <= 10000")
    return replicas


class Execution(Frozen):
    """Where and how wide. Nothing here changes what is generated, so a resumed run may change it."""

    replicas: tuple[int, int] = Field(
        (1, 1), description="[min, max]: engine actors, each with all colocated models of the job"
    )
    cpus_per_replica: float | None = Field(
        None, ge=0, description="logical CPUs an engine asks Ray for; the engine's own choice if unset"
    )
    gpus_per_replica: float = Field(0, ge=0, description="GPUs that an engine actor asks Ray for")
    chunks_in_flight: int | None = Field(None, ge=1, le=64, description="chunks an engine works on at once")
    cpus_per_read: float = Field(0.1, gt=0, description="logical CPUs that a reading task asks Ray for")
    cpus_per_write: float = Field(0.1, gt=0, description="logical CPUs that a committing task asks Ray for")
    attempt_limit_s: float = Field(
        6 * 3600, ge=1, description="a chunk attempt older than this writes nothing more"
    )
    reuse: str | None = Field(
        None,
        description="another run of these rows, or of some of them: what it recorded of calls that this job makes too is not "
        "computed again. Empty: none, where the run began with one",
    )

    max_failed: str | int | None = Field(
        None,
        description="a session stops, to be resumed, once more rows have failed: a number, or a part of those done such as 5% "
        "(of 400 at least)",
    )

    _ordered = field_validator("replicas")(lambda replicas: ordered(replicas))

    @field_validator("max_failed", mode="before")
    @classmethod
    def _no_switch(cls, said: object) -> object:
        if isinstance(said, bool):  # which pydantic takes for 1 or 0
            raise ValueError("give a number of rows such as 100, or a part of them such as 5%")
        return said

    @field_validator("max_failed")
    @classmethod
    def _says_how_many(cls, said: str | int | None) -> str | int | None:
        if said is not None:
            Tolerance.of(said)
        return said

    @property
    def tolerance(self) -> Tolerance | None:
        return None if self.max_failed is None else Tolerance.of(self.max_failed)
