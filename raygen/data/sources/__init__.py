"""Sources: from bytes in a store to rows. One file a format; a new one is a file and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raygen.config.source import Source
    from raygen.data.sources.base import SourceReader

FORMATS = {
    "parquet": "raygen.data.sources.parquet:ParquetReader",
    "jsonl": "raygen.data.sources.jsonl:JsonLinesReader",
    "csv": "raygen.data.sources.csv:CsvReader",
    "webdataset": "raygen.data.sources.webdataset:WebDatasetReader",
    "text": "raygen.data.sources.folder:TextFolderReader",
    "images": "raygen.data.sources.folder:ImageFolderReader",
}


def open_source(source: Source) -> SourceReader:
    """Return the reader of a source's format."""
    module, _, attribute = FORMATS[source.format].partition(":")
    reader: SourceReader = getattr(import_module(module), attribute)(source)
    return reader
