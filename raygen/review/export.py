"""Export a finished run's outcomes in another format (exports/), each row checked and written once."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pyarrow as pa

from raygen.errors import ConfigError, UserError
from raygen.review.exports import EXPORTS, ExportFormat
from raygen.review.show import check_status
from raygen.runs.media import with_media
from raygen.runs.view import RunView, open_run
from raygen.storage import open_store

FILE_ROWS = 100_000
FILE_BYTES = 256 * 2**20
DONE_KEY = "_export.json"


def export_run(run_uri: str, as_format: str, to: str, status: str | None) -> tuple[int, int]:
    """Write the outcomes below `to`. The mark `_export.json` comes last: without it, the export is unfinished.

    Returns:
        The numbers of rows and of files.

    Raises:
        UserError: no finished run, an unknown format, or `to` already holds an export.
    """
    check_status(status)
    try:
        writer: ExportFormat = EXPORTS.load(as_format)()
    except ValueError as error:
        raise ConfigError(f"--format: {error}") from None
    view, target = open_run(run_uri), open_store(to)
    if next(iter(target.list()), None) is not None:
        raise UserError(f"--to {to}: not empty; name a new place")
    rows = files = 0
    for number, table in enumerate(_parts(view, status)):
        for kind, data in writer.files(table).items():
            target.put(f"{kind}-{number:05d}{writer.suffix}", data)
            files += 1
        rows += table.num_rows
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
