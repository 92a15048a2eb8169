"""A source format of another package: every word of a file is a row."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from raygen import InputFile, Range, SourcePlan, SourceReader


class WordsReader(SourceReader):
    """Reads files whose words, between white space, are rows with one column, `text`."""

    numbered = True

    def pin(self, chunk_rows: int, used: Collection[str] | None) -> SourcePlan:
        inputs, ranges = [], []
        for number, uri in enumerate(self.source.uris):
            data = Path(uri).read_bytes()
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            inputs.append(InputFile(uri, Path(uri).name, len(data), digest, digest))
            words = len(data.split())
            for start in range(0, words, chunk_rows):
                stop = min(start + chunk_rows, words)
                ranges.append(Range(number, start, stop, stop - start, start))
        return SourcePlan(inputs, ranges, {"text": pa.string()}, sampled=False)

    def read(
        self, inputs: Sequence[InputFile], ranges: Iterable[Range], columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        for each in ranges:
            file = inputs[each.file]
            words = Path(file.uri).read_text().split()[each.start : each.stop]
            ids = [f"{file.name}#{number}" for number in range(each.start, each.stop)]
            nothing = pa.nulls(len(words), pa.string())
            table = {"__row_id": pa.array(ids), "__error_code": nothing, "__error_message": nothing}
            yield pa.table(
                {**table, **({"text": pa.array(words)} if columns is None or "text" in columns else {})}
            )
