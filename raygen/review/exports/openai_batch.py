"""OpenAI batch: what a run of the step `answer` made, as the output and error files of a batch."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

from raygen.errors import UserError
from raygen.review.exports import ExportFormat, rows_to_write
from raygen.steps.answer import request_name
from raygen.wire.lines import line_of


class OpenAiBatch(ExportFormat):
    """Two files, as the batch API gives them: `output` has the lines that were answered, `errors` all others."""

    suffix = ".jsonl"

    def encode(self, table: pa.Table) -> bytes:
        """Return the lines of all rows. Raises UserError: they are no answers of the step `answer`."""
        return b"".join(_written(row)[1] for row in rows_to_write(table))

    def files(self, table: pa.Table) -> dict[str, bytes]:
        """Return both files; one without lines is left out. Raises UserError."""
        lines: dict[str, list[bytes]] = {"output": [], "errors": []}
        for row in rows_to_write(table):
            good, line = _written(row)
            lines["output" if good else "errors"].append(line)
        return {kind: b"".join(held) for kind, held in lines.items() if held}


def _written(row: dict[str, Any]) -> tuple[bool, bytes]:
    try:
        good, line = line_of(row, request_name(row["lineage"]["run_seed"], row["row_id"]))
    except ValueError:
        raise UserError(
            f"--format openai_batch: the outcome of row {row['row_id']!r} is no answer of the step `answer`; "
            "other runs have --format jsonl"
        ) from None
    return good, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
