"""Duplicates: rows that say what an earlier one says. Their data stays as it was committed; readers see them rejected.

One object, written before the manifest that refers to it, holds all of them. What it says follows from the committed rows in
their planned order and from nothing else, so that two drivers, or one after a crash, write the same. Its name is made of its
digest: where a run ends with enough rows, two drivers may have seen other chunks, and which of them are in, and so which
duplicates are, is decided by the manifest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from raygen.config.base import Frozen, exactly_one
from raygen.data.text.fingerprint import Near
from raygen.errors import CorruptDataError
from raygen.runs.commit import decode_data, encode_data, read_checked
from raygen.runs.outcome import ACCEPTED, ATTEMPT, REJECTED
from raygen.runs.plan import Plan
from raygen.storage import Store
from raygen.storage.create import create_once

PREFIX = "duplicates-"
DUPLICATE = "duplicate"  # the reason, and the decision
SCHEMA = pa.schema(
    [
        ("chunk", pa.int32()),
        ("row", pa.int32()),  # its place in the chunk
        ("row_id", pa.string()),
        ("of", pa.string()),  # the row id of the row that stays
        ("similarity", pa.float64()),  # 1: equal texts
        ("digest", pa.binary()),  # of its text, as in its fingerprint
    ]
)


class Deduplicate(Frozen):
    """Of rows that are alike, keep the first. Decided once, at the end of the run, over all accepted rows in their order."""

    of: str = Field(
        "{{ sample }}", description="a template: what is compared; of every accepted sample of the row"
    )
    exact: Literal[True] | None = Field(None, description="the same but for case and white space")
    near: Near | None = None

    @model_validator(mode="after")
    def _one(self) -> Deduplicate:
        exactly_one(self, "exact", "near")
        return self


@dataclass(frozen=True)
class Duplicates:
    """What a manifest says of the duplicates: where they are, how to check them, how many each chunk has."""

    data: str  # key
    size_bytes: int
    sha256: str
    rows: int
    chunks: list[list[int]]  # [chunk, rows], of the chunks that have any

    def within(self, chunks: set[int]) -> int:
        """How many are in these chunks."""
        return sum(rows for chunk, rows in self.chunks if chunk in chunks)


def deduplication_of(plan: Plan) -> Deduplicate | None:
    """How a run's duplicates are found; None: they are not looked for."""
    steps = plan.job.get("steps") or [{}]
    found = steps[-1].get("deduplicate")
    return None if found is None else Deduplicate.model_validate(found)


def write_duplicates(store: Store, table: pa.Table) -> Duplicates:
    """Write the object if it is not there.

    Args:
        table: of SCHEMA, in the order of the plan.

    Raises:
        CorruptDataError: what stands there is not what its name says. UnknownResultError: the store does not answer; run again.
    """
    data = encode_data(table)
    sha256 = hashlib.sha256(data).hexdigest()
    key = f"{PREFIX}{sha256[:16]}.parquet"
    made = Duplicates(key, len(data), sha256, table.num_rows, per_chunk(table))
    try:
        create_once(store, key, data, lambda: read_duplicates(store, made), read_back=True)
    except CorruptDataError:
        raise CorruptDataError(f"{store.uri_of(key)} is damaged; remove it and run again") from None
    return made


def read_duplicates(store: Store, duplicates: Duplicates) -> pa.Table:
    """Return the duplicates (SCHEMA), checked. Raises CorruptDataError, KeyNotFoundError."""
    about = "the manifest"
    return decode_data(read_checked(store, duplicates.data, duplicates.size_bytes, duplicates.sha256, about))


def per_chunk(duplicates: pa.Table) -> list[list[int]]:
    """Return [chunk, how many] for each chunk that has any."""
    counts = pc.value_counts(duplicates.column("chunk")).to_pylist()
    return sorted([each["values"], each["counts"]] for each in counts)


def of_chunk(duplicates: pa.Table, chunk: int) -> pa.Table:
    """Return the duplicates in one chunk."""
    chunks = duplicates.column("chunk").to_numpy()
    start, stop = np.searchsorted(chunks, [chunk, chunk + 1])
    return duplicates.slice(start, stop - start)


def mark(table: pa.Table, duplicates: pa.Table, step: str) -> pa.Table:
    """Return a chunk's outcomes as readers see them: duplicates are rejected, with a decision that names the row that stays.

    Args:
        table: the outcomes as they were committed, whole. duplicates: `of_chunk`. step: the name of the `deduplicate` step.
    """
    if not duplicates.num_rows:
        return table
    rows = duplicates.column("row").to_numpy()
    told = table.take(pa.array(rows))
    count = len(rows)
    attempts = [
        [*before, _decision(step, before, of, similarity)]
        for before, of, similarity in zip(
            told.column("attempts").to_pylist(),
            duplicates.column("of").to_pylist(),
            duplicates.column("similarity").to_pylist(),
            strict=True,
        )
    ]
    changes = {
        "status": pa.array([REJECTED] * count, pa.string()),
        "reason": pa.array([DUPLICATE] * count, pa.string()),
        "attempts": pa.array(attempts, pa.list_(ATTEMPT)),
    }
    order = np.arange(table.num_rows)
    order[rows] = table.num_rows + np.arange(count)
    for name, values in changes.items():
        place = table.schema.get_field_index(name)
        whole = pa.concat_arrays([table.column(name).combine_chunks(), values])
        table = table.set_column(place, table.schema.field(place), whole.take(pa.array(order)))
    return table


def _decision(step: str, before: list[dict[str, Any]], of: str, similarity: float) -> dict[str, Any]:
    likeness = "the same text as" if similarity == 1 else f"{similarity:.0%} alike to"
    return {
        "step": step,
        "attempt": before[-1]["attempt"] if before else 0,
        "sample": None,
        "decision": DUPLICATE,
        "detail": f"{likeness} row {of}",
        "model": None,
        "scores": [("similarity", similarity)],
    }


def packed(duplicates: pa.Table) -> bytes:
    """Return a few duplicates as bytes, to send with a task; none as no bytes."""
    return encode_data(duplicates) if duplicates.num_rows else b""


def unpacked(data: bytes) -> pa.Table:
    """Return the duplicates that were stored; an empty table if there are none."""
    return decode_data(data) if data else SCHEMA.empty_table()


def corrected(counts: dict[str, int], duplicates: int) -> dict[str, int]:
    """Return counts by status after so many accepted rows turned out to be duplicates."""
    return {
        **counts,
        ACCEPTED: counts[ACCEPTED] - duplicates,
        REJECTED: counts[REJECTED] + duplicates,
    }
