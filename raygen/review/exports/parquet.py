"""Parquet: the outcomes as tables, as a run's own data objects hold them."""

from __future__ import annotations

import pyarrow as pa

from raygen.review.exports import ExportFormat
from raygen.runs.commit import encode_data


class Parquet(ExportFormat):
    """The outcomes as a table, with their types."""

    suffix = ".parquet"

    def encode(self, table: pa.Table) -> bytes:
        """Return a table as a Parquet file."""
        return encode_data(table)
