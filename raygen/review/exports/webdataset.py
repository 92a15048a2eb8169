"""WebDataset: the outcomes in tar archives, texts and media as files of their own."""

from __future__ import annotations

import io
import tarfile

import pyarrow as pa

from raygen.data.media.shards import safe_name, suffix_of
from raygen.json_text import write_json
from raygen.review.exports import ExportFormat, rows_to_write
from raygen.review.show import plain
from raygen.runs.outcome import OWN_COLUMNS


class WebDataset(ExportFormat):
    """A tar with `<row>.json` a row, and `<row>.<sample>.txt` or the sample's media beside it."""

    suffix = ".tar"

    def encode(self, table: pa.Table) -> bytes:
        """Return a tar of a table's outcomes."""
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for number, row in enumerate(rows_to_write(table)):
                # Row ids are anybody's text: the member's name keeps what is safe of them, the JSON has all of it.
                name = safe_name(number, row["row_id"])
                for sample in row["samples"]:
                    media = sample.pop("media")
                    if media is not None:
                        kind = suffix_of(sample["media_type"])
                        _add(archive, f"{name}.{sample['index']}.{kind}", media)
                    elif sample["text"] is not None:
                        _add(
                            archive,
                            f"{name}.{sample['index']}.txt",
                            sample["text"].encode("utf-8", "replace"),
                        )
                for sample in row["discarded"]:
                    sample["media"] = None
                kept = {
                    key: value
                    for key, value in row.items()
                    if key not in OWN_COLUMNS and not isinstance(value, bytes)
                }
                own = {key: row[key] for key in OWN_COLUMNS if key in row}
                _add(archive, f"{name}.json", write_json({**own, **kept}, default=plain))
        return sink.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
