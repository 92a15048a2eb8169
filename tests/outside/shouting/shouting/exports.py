"""An export format of another package: the texts alone, one a line."""

from __future__ import annotations

import pyarrow as pa

from raygen import ExportFormat


class Shouts(ExportFormat):
    """Every sample's text on a line."""

    suffix = ".txt"

    def encode(self, table: pa.Table) -> bytes:
        rows = table.column("samples").to_pylist()
        return "".join(f"{sample['text']}\n" for row in rows for sample in row).encode()
