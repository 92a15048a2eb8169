"""Results: a batch's output and error files, which are views: the same bytes each time, made from what its end names.

Lines of committed rows come in the order of the input, then, in the error file, those of chunks that were never asked. No more
than a chunk is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from raygen.data.sources import open_source
from raygen.data.sources.base import ROW_ID
from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.program.job import Job
from raygen.runs.commit import Commit, read_commit, read_data
from raygen.runs.media import with_media
from raygen.runs.outcome import ACCEPTED, UNASKED
from raygen.runs.plan import Plan
from raygen.serve.batches.layout import ERRORS, OUTPUT, Place
from raygen.serve.batches.objects import Objects
from raygen.steps.answer import request_name
from raygen.storage import Store
from raygen.wire.lines import answered_line, line_of, unasked, unasked_line

COLUMNS = ["row_id", "status", "reason", "samples", "discarded", "error"]
# Of each chunk that counts: its number, the run or retry that holds it (from the run's top), and the attempt.
Counted = tuple[int, str, str]


def result_lines(objects: Objects, place: Place, retry: int, kind: str) -> Iterator[bytes]:
    """Yield a result file in pieces. Raises CorruptDataError, KeyNotFoundError, StorageError."""
    end = objects.find(place.end(retry))
    if end is None:
        raise KeyNotFoundError(f"{place.batch} has not ended")
    run = objects.store.child(place.run)
    counted = [(chunk, prefix, attempt) for chunk, prefix, attempt in end["commits"]]
    for kind_of, piece in pieces_of(run, counted, end["status"]):
        if kind_of == kind:
            yield piece


def pieces_of(run: Store, counted: Sequence[Counted], status: str) -> Iterator[tuple[str, bytes]]:
    """Yield both result files of an end, in pieces, each with the kind of its file.

    Args:
        run: the batch's run; it may be there only in part, or not at all.
        status: of the end: what is said of rows that were never asked.
    """
    try:
        plan = Plan.load(run)
    except KeyNotFoundError:
        return
    seed = int(plan.job.get("seed", 0))
    for chunk, prefix, attempt in counted:
        where = run.child(prefix) if prefix else run
        yield from _chunk_pieces(where, chunk, attempt, status, seed)
    yield from _unasked(plan, {chunk for chunk, _, _ in counted}, status, seed)


def _chunk_pieces(
    where: Store, chunk: int, attempt: str, status: str, seed: int
) -> Iterator[tuple[str, bytes]]:
    commit = read_commit(where, chunk)
    if commit.attempt != attempt:
        raise CorruptDataError(f"{where.uri_of(commit.key)} is not the one that counted when the batch ended")
    table = read_data(where, commit, COLUMNS)
    lines: dict[str, list[bytes]] = {OUTPUT: [], ERRORS: []}
    columns = (table.column(name).to_pylist() for name in ("row_id", "status", "reason"))
    texts = _first_texts(table)
    for number, (row_id, fate, reason) in enumerate(zip(*columns, strict=True)):
        name = request_name(seed, row_id)
        if reason in UNASKED:  # the end says why: workers may have seen a cancel and an expiry at once
            lines[ERRORS].append(_written(unasked_line(row_id, name, *unasked(status))))
            continue
        if fate == ACCEPTED and texts[number] is not None:
            told = answered_line(row_id, name, orjson.Fragment(texts[number]))  # type: ignore[arg-type]
            lines[OUTPUT].append(_written(told))
            continue
        good, told = line_of(_row(where, commit, table, number), name)
        lines[OUTPUT if good else ERRORS].append(_written(told))
    for kind, written in lines.items():
        if written:
            yield kind, b"".join(written)


def _first_texts(table: pa.Table) -> list[str | None]:
    """Return the text of each row's first sample; None where there is none."""
    samples = table.column("samples").combine_chunks()
    texts = samples.flatten().field("text")
    starts = samples.offsets.to_numpy()[:-1] - samples.offsets[0].as_py()
    lengths = samples.value_lengths().to_pylist()
    flat = texts.to_pylist()
    return [flat[start] if length else None for start, length in zip(starts, lengths, strict=True)]


def _row(where: Store, commit: Commit, table: pa.Table, number: int) -> dict[str, Any]:
    filled = next(with_media(where, commit, table.slice(number, 1), 0))
    row: dict[str, Any] = filled.to_pylist(maps_as_pydicts="lossy")[0]
    return row


def _unasked(plan: Plan, asked: set[int], status: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield lines of the rows without a commit, from the plan's input."""
    rest = [each for chunk, each in enumerate(plan.chunks) if chunk not in asked]
    if not rest:
        return
    code, message = unasked(status)
    source = open_source(Job.model_validate(plan.job).source)
    for table in source.read(plan.inputs, rest, []):
        lines = [
            _written(unasked_line(row_id, request_name(seed, row_id), code, message))
            for row_id in table.column(ROW_ID).to_pylist()
        ]
        yield ERRORS, b"".join(lines)


def _written(line: dict[str, Any]) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
