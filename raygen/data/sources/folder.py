"""Folders: every file is a row, of text or an image. Its row id is its path below the folder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from raygen.data.media.images import check_image, check_size
from raygen.data.sources.base import InputFile, Range, SourcePlan, SourceReader
from raygen.data.sources.inputs import Opener, changed, list_inputs
from raygen.data.sources.lines import Fault
from raygen.data.sources.partitions import partitions_of
from raygen.data.sources.records import row_columns
from raygen.errors import RowError, SourceError

THREADS = 8  # files are small and far away: fetch some at once


class FolderReader(SourceReader):
    """Inputs are the files; a range [start, stop) are inputs start to stop - 1. A subclass decodes a file."""

    columns: dict[str, pa.DataType]

    @abstractmethod
    def decode(self, data: bytes, name: str) -> dict[str, Any]:
        """Return the columns of a file, `path` excepted. Raises RowError."""

    def pin(self, chunk_rows: int, used: Collection[str] | None) -> SourcePlan:
        if self.source.key not in (None, "path"):
            raise SourceError(f"source.key: {self.source.key!r}; a folder's only key is 'path'")
        pinned = [found.pin() for found in list_inputs(self.source)[: self.source.max_rows]]
        ranges = []
        for start in range(0, len(pinned), chunk_rows):
            stop = min(start + chunk_rows, len(pinned))
            ranges.append(Range(start, start, stop, stop - start, 0))
        return SourcePlan(pinned, ranges, dict(self.columns), sampled=False)

    def ids(self, inputs: Sequence[InputFile], ranges: Sequence[Range]) -> Iterator[pa.Array]:
        for each in ranges:
            yield pa.array([file.name for file in inputs[each.start : each.stop]], pa.string())

    def read(
        self, inputs: Sequence[InputFile], ranges: Iterable[Range], columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        opener = Opener(self.source.storage)
        wanted = list(self.columns) if columns is None else columns
        with ThreadPoolExecutor(THREADS, "raygen-read") as pool:
            for each in ranges:
                files = inputs[each.start : each.stop]
                rows = list(pool.map(lambda file: self._load(opener, file), files))
                errors = {i: row for i, row in enumerate(rows) if isinstance(row, Fault)}
                values = [
                    {} if isinstance(row, Fault) else {**partitions_of(file.uri), **row}
                    for file, row in zip(files, rows, strict=True)
                ]
                yield pa.table(
                    {
                        **row_columns([file.name for file in files], errors),
                        **{
                            n: pa.array([v.get(n) for v in values], self.columns.get(n, pa.string()))
                            for n in wanted
                        },
                    }
                )

    def _load(self, opener: Opener, file: InputFile) -> dict[str, Any] | Fault:
        store, key = opener.open(file)
        try:
            check_size(file.size_bytes, file.name, self.source.max_media_bytes)
            data = store.get(key)
            if len(data) != file.size_bytes:
                raise changed(file.uri)
            return {"path": file.name, **self.decode(data, file.name)}
        except RowError as error:
            return Fault(error.code, error.message)


class TextFolderReader(FolderReader):
    """Columns: path, and text (UTF-8; a byte order mark is dropped)."""

    columns = {"path": pa.string(), "text": pa.string()}

    def decode(self, data: bytes, name: str) -> dict[str, Any]:
        try:
            return {"text": data.decode("utf-8-sig")}
        except UnicodeDecodeError as error:
            raise RowError("wrong_encoding", f"{name}: not UTF-8 at byte {error.start}") from None


class ImageFolderReader(FolderReader):
    """Columns: path, image (the file's bytes), media_type, width and height in pixels. Images must decode."""

    columns = {
        "path": pa.string(),
        "image": pa.large_binary(),
        "media_type": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
    }

    def decode(self, data: bytes, name: str) -> dict[str, Any]:
        info = check_image(data, name, self.source.max_media_pixels)
        return {"image": data, "media_type": info.media_type, "width": info.width, "height": info.height}
