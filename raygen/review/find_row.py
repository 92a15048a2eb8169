"""Find row: one outcome by its id, in a finished or unfinished run, without reading more than the ids of the others."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raygen.data.sources import open_source
from raygen.data.sources.base import ERROR_CODE, ERROR_MESSAGE, ROW_ID, rows_of
from raygen.errors import RowError, UserError
from raygen.formatting import visible
from raygen.program.program import Program
from raygen.review.show import chunks_of, merged_of
from raygen.runs.commit import Commit, read_data, read_ids
from raygen.runs.manifest import MANIFEST_KEY
from raygen.runs.outcome import outcome_rows
from raygen.runs.plan import Plan
from raygen.runs.retries import retry_prefixes
from raygen.storage import Store

READERS = 16  # chunks whose ids are read at once
CANDIDATES = 5000  # ids that are compared with one that is not there


@dataclass(frozen=True, slots=True)
class FoundRow:
    store: Store  # the run, or the retry, that holds its chunk
    commit: Commit
    record: dict[str, Any]  # the outcome, maps as dicts
    compared: bool = False  # with all other rows: the run's duplicates are settled


def find_row(store: Store, row_id: str) -> FoundRow:
    """Find an outcome.

    Raises:
        UserError: there is no run; no outcome has this id (so far), names those that look like it.
        CorruptDataError: a chunk cannot be read.
    """
    similar: list[str] = []
    places = chunks_of(store)
    row_id = row_id.encode("utf-8", "replace").decode()  # no id holds what is no UTF-8
    with ThreadPoolExecutor(READERS) as pool:
        while some := list(islice(places, 4 * READERS)):
            for (where, commit), ids in zip(
                some, pool.map(lambda place: read_ids(*place), some), strict=True
            ):
                position = pc.index(ids, row_id).as_py()
                if position >= 0:
                    merged = merged_of(store)
                    table = read_data(where, commit)
                    table = table if merged is None else merged.marked(commit.chunk, table)
                    table = table.slice(position, 1)
                    record = next(outcome_rows(table))
                    return FoundRow(where, commit, record, compared=merged is not None)
                if len(similar) < CANDIDATES:
                    similar += islice(_similar(ids, row_id), CANDIDATES - len(similar))
    near = difflib.get_close_matches(row_id, similar, 3)
    meant = f"; did you mean {' or '.join(repr(visible(each)) for each in near)}?" if near else ""
    if store.exists(MANIFEST_KEY):
        raise UserError(f"{store.uri}: no row {visible(row_id)!r}{meant}")
    raise UserError(
        f"{store.uri}: no outcome of a row {visible(row_id)!r} so far: the run is not finished{meant}"
    )


def _similar(ids: pa.Array, row_id: str) -> Iterator[str]:
    """Yield ids that share a half with this one, whatever their case: one slip of the hand leaves one half as it was."""
    half = len(row_id) // 2
    lower = pc.utf8_lower(ids)
    begins = pc.starts_with(lower, row_id[:half].lower())
    ends = pc.ends_with(lower, row_id[half:].lower())
    yield from ids.filter(pc.or_(begins, ends)).to_pylist()


def plan_of(store: Store, record: dict[str, Any]) -> Plan | None:
    """Return the plan that an outcome was made under, the run's or one of its retries'; None: it is not here.

    A retry's chunks also hold rows as the run before it made them; the lineage tells them apart.
    """
    lineage = record["lineage"]
    digests = {model["name"]: model["digest"] for model in lineage["models"]}
    for prefix in ["", *reversed(retry_prefixes(store))]:
        plan = Plan.load(store.child(prefix) if prefix else store)
        pinned = {name: model["digest"] for name, model in plan.models.items()}
        if plan.config_hash == lineage["config_hash"] and pinned == digests:
            return plan
    return None


def read_input(
    program: Program, plan: Plan, chunk: int, row_id: str
) -> tuple[dict[str, Any], RowError | None] | None:
    """Read a row's input again: its columns, and why it cannot be read; None: it is not in the source any more.

    Raises:
        RaygenError: the source is gone, or is not the planned one.
    """
    reader = open_source(program.job.source)
    for table in reader.read(plan.inputs, [plan.chunks[chunk]], program.columns):
        position = pc.index(table.column(ROW_ID), row_id).as_py()
        if position >= 0:
            one = table.slice(position, 1)
            code, message = (one.column(name)[0].as_py() for name in (ERROR_CODE, ERROR_MESSAGE))
            error = None if code is None else RowError(code, message or code, "read")
            return next(iter(rows_of(one, program.columns))), error
    return None
