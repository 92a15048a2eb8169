"""Export formats: what `raygen export` can write of a run's outcomes. One file a format; a new one is a file and a line here.

Another package offers its own by an entry point of the group `raygen.exports`, or it is named in full,
`--format package.module:Class`. Start reading: jsonl.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa

from raygen.registry import Registry
from raygen.runs.outcome import outcome_rows

EXPORTS = Registry(
    "export format",
    "raygen.exports",
    {
        "jsonl": "raygen.review.exports.jsonl:JsonLines",
        "openai_batch": "raygen.review.exports.openai_batch:OpenAiBatch",
        "parquet": "raygen.review.exports.parquet:Parquet",
        "webdataset": "raygen.review.exports.webdataset:WebDataset",
    },
    kind="raygen.review.exports:ExportFormat",
)


class ExportFormat(ABC):
    """One way to write outcomes.

    Attributes:
        suffix: what the files' names end with: `.jsonl`.
    """

    suffix: ClassVar[str]

    @abstractmethod
    def encode(self, table: pa.Table) -> bytes:
        """Return a file that holds these outcomes; tables are of bounded size."""

    def files(self, table: pa.Table) -> dict[str, bytes]:
        """Return the files that hold these outcomes, by what their names begin with; one, unless a format tells kinds apart."""
        return {"part": self.encode(table)}


def rows_to_write(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the outcomes of a table as dicts, without the fingerprints, which are bytes that nobody reads."""
    yield from outcome_rows(table.drop_columns("fingerprint"))
