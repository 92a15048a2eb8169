"""The sink: how outcomes are stored, and how much of them may be in one piece."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raygen.config.base import Frozen

MIB = 2**20
MAX_SAMPLE_BYTES = 8 * MIB
INSIDE_BYTES = 8 * MIB  # a chunk's media that are part of its table, unless the job says otherwise


class Sink(Frozen):
    """Where outcomes go: a Parquet table for each chunk, and media inside of it or beside it."""

    format: Literal["parquet"] = Field("parquet", description="what outcomes are stored as")
    chunk_rows: int = Field(128, ge=1, le=100_000, description="rows a chunk: the unit of work and of commit")
    # One PUT of S3 takes at most 5 GiB.
    chunk_bytes: int = Field(
        64 * MIB,
        ge=2**16,
        le=4096 * MIB,
        description="bytes of media in one object: a chunk with more of them has several",
    )
    max_sample_bytes: int = Field(
        MAX_SAMPLE_BYTES,
        ge=1,
        le=4096 * MIB,
        description="a larger picture, sound or video fails its row: `media_too_large`",
    )
    media: Literal["inside", "beside"] | None = Field(
        None,
        description="inside: media are part of the table, up to `chunk_bytes` a chunk; beside: they are in tar archives "
        "(WebDataset); unset: inside up to 8 MiB a chunk, beyond that beside",
    )

    @model_validator(mode="after")
    def _a_sample_fits(self) -> Sink:
        if self.max_sample_bytes > self.chunk_bytes:
            raise ValueError(
                f"max_sample_bytes ({self.max_sample_bytes:,}) is more than chunk_bytes ({self.chunk_bytes:,}): "
                "raise chunk_bytes, so that an object can hold the largest sample"
            )
        return self

    @property
    def inside_bytes(self) -> int:
        """How many bytes of media a chunk's table may hold; of a chunk with more, all media stand beside it."""
        if self.media is None:
            return min(INSIDE_BYTES, self.chunk_bytes)
        return self.chunk_bytes if self.media == "inside" else 0
