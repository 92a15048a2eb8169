"""JSON Lines: an outcome a line."""

from __future__ import annotations

import pyarrow as pa

from raygen.json_text import write_json
from raygen.review.exports import ExportFormat, rows_to_write
from raygen.review.show import plain


class JsonLines(ExportFormat):
    """An outcome a line, as a JSON object."""

    suffix = ".jsonl"

    def encode(self, table: pa.Table) -> bytes:
        """Return the lines of a table's outcomes."""
        return b"".join(write_json(row, default=plain) + b"\n" for row in rows_to_write(table))
