"""Sources: from bytes in a store to rows. One file a format; a new one is a file and a line here.

Contract: a reader plans ranges of its files and reads any of them again, with the same rows.
Start reading: base.py, then jsonl.py.

Another package offers its own by an entry point of the group `raygen.formats`, or a job names it in full,
`format: "package.module:Class"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from raygen.config.source import Source
from raygen.registry import Registry

if TYPE_CHECKING:
    from raygen.data.sources.base import SourceReader

FORMATS = Registry(
    "format",
    "raygen.formats",
    {
        "parquet": "raygen.data.sources.parquet:ParquetReader",
        "jsonl": "raygen.data.sources.jsonl:JsonLinesReader",
        "csv": "raygen.data.sources.csv:CsvReader",
        "webdataset": "raygen.data.sources.webdataset:WebDatasetReader",
        "text": "raygen.data.sources.folder:TextFolderReader",
        "images": "raygen.data.sources.folder:ImageFolderReader",
    },
    kind="raygen.data.sources.base:SourceReader",
)


def check_format(source: Source) -> Source:
    """Refuse a format that nobody reads. Raises ValueError, with the formats there are."""
    if source.format not in FORMATS.own:  # raygen's own are not loaded for it
        FORMATS.load(source.format)
    return source


CheckedSource = Annotated[Source, AfterValidator(check_format)]


def open_source(source: Source) -> SourceReader:
    """Return the reader of a source's format. Raises ValueError: there is none."""
    reader: SourceReader = FORMATS.load(source.format)(source)
    return reader
