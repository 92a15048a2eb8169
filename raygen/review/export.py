"""Export a finished run's outcomes: JSON Lines, Parquet or WebDataset, each row checked and written once."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa

from raygen.data.media.shards import safe_name, suffix_of
from raygen.errors import ConfigError, UserError
from raygen.json_text import write_json
from raygen.review.show import check_status, plain
from raygen.runs.commit import encode_data
from raygen.runs.media import with_media
from raygen.runs.outcome import OWN_COLUMNS, outcome_rows
from raygen.runs.view import RunView, open_run
from raygen.storage import open_store

FILE_ROWS = 100_000
FILE_BYTES = 256 * 2**20
DONE_KEY = "_export.json"


def export_run(run_uri: str, as_format: str, to: str, status: str | None) -> tuple[int, int]:
    """Write the outcomes below `to`; returns (rows, files). The mark `_export.json` comes last: without it, it is unfinished.

    Raises:
        UserError: no finished run, an unknown format, or `to` already holds an export.
    """
    check_status(status)
    if as_format not in WRITERS:
        raise ConfigError(f"--format {as_format!r}: allowed: {', '.join(WRITERS)}")
    view, target = open_run(run_uri), open_store(to)
    if next(iter(target.list()), None) is not None:
        raise UserError(f"--to {to}: not empty; name a new place")
    suffix, encode = WRITERS[as_format]
    rows = files = 0
    for table in _parts(view, status):
        target.put(f"part-{files:05d}{suffix}", encode(table))
        rows, files = rows + table.num_rows, files + 1
    mark = {
        "run": view.uri,
        "run_id": view.manifest.run_id,
        "rows": rows,
        "files": files,
        "format": as_format,
        "status": status,
    }
    target.put(DONE_KEY, orjson.dumps(mark))
    return rows, files


def _parts(view: RunView, status: str | None) -> Iterator[pa.Table]:
    """Bundle chunks into files of bounded size; media that stand beside the tables are put into them."""
    held: list[pa.Table] = []
    for (store, commit), table in zip(view.chunks, view.tables(), strict=True):
        if status is not None:
            table = table.filter(pa.compute.equal(table.column("status"), status))
        for piece in with_media(store, commit, table, FILE_BYTES // 4):
            held.append(piece)
            if sum(t.num_rows for t in held) >= FILE_ROWS or sum(t.nbytes for t in held) >= FILE_BYTES:
                yield pa.concat_tables(held)
                held = []
    if held:
        yield pa.concat_tables(held)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    table = table.drop_columns("fingerprint")  # bytes that nobody reads
    yield from outcome_rows(table)


def _jsonl(table: pa.Table) -> bytes:
    return b"".join(write_json(row, default=plain) + b"\n" for row in _rows(table))


def _webdataset(table: pa.Table) -> bytes:
    """Return a tar with `<row>.json` a row, and `<row>.<sample>.txt` or the sample's media beside it."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, row in enumerate(_rows(table)):
            # Row ids are anybody's text: the member's name keeps what is safe of them, the JSON has all of it.
            name = safe_name(number, row["row_id"])
            for sample in row["samples"]:
                media = sample.pop("media")
                if media is not None:
                    kind = suffix_of(sample["media_type"])
                    _add(archive, f"{name}.{sample['index']}.{kind}", media)
                elif sample["text"] is not None:
                    _add(archive, f"{name}.{sample['index']}.txt", sample["text"].encode("utf-8", "replace"))
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


WRITERS: dict[str, tuple[str, Callable[[pa.Table], bytes]]] = {
    "jsonl": (".jsonl", _jsonl),
    "parquet": (".parquet", encode_data),
    "webdataset": (".tar", _webdataset),
}
