"""The finder of duplicates: what it takes in, and what it refuses."""

from __future__ import annotations

import pyarrow as pa
import pytest

from raygen.data.text.fingerprint import Near, fingerprint
from raygen.errors import ChunkIntegrityError
from raygen.runs.duplicate_finder import COLUMNS, DuplicateFinder
from raygen.runs.duplicates import Deduplicate, packed, unpacked


def chunk(rows: list[tuple[str, str, str | None]], near: Near | None = None) -> pa.Table:
    """Return the columns that the finder reads, of rows with an id, a status and a text."""
    made = [(row_id, status, text and fingerprint([text], near)) for row_id, status, text in rows]
    types = (pa.string(), pa.string(), pa.binary())
    columns = zip(*made, strict=True)
    return pa.table([pa.array(c, t) for c, t in zip(columns, types, strict=True)], names=COLUMNS)


EXACT = Deduplicate.model_validate({"of": "{{ text }}", "exact": True})


def test_only_accepted_rows_that_say_something_count() -> None:
    with DuplicateFinder(EXACT) as finder:
        finder.add(0, chunk([("a", "rejected", "one"), ("b", "accepted", None)]))
        finder.add(3, chunk([("c", "accepted", "one"), ("d", "failed", "one")]))
        finder.add(5, chunk([("e", "accepted", "two"), ("f", "accepted", "ONE")]))
        found = finder.found().to_pylist()
    assert [(row["chunk"], row["row"], row["row_id"], row["of"]) for row in found] == [(5, 1, "f", "c")]


def test_fingerprints_of_another_kind_are_refused_by_their_chunk() -> None:
    with DuplicateFinder(EXACT) as finder:
        with pytest.raises(ChunkIntegrityError, match="chunk 4: "):
            finder.add(4, chunk([("a", "accepted", "one")], Near()))


def test_a_few_duplicates_travel_as_bytes_and_none_as_no_bytes() -> None:
    with DuplicateFinder(EXACT) as finder:
        finder.add(0, chunk([("a", "accepted", "one"), ("b", "accepted", "one")]))
        found = finder.found()
    assert unpacked(packed(found)).equals(found)
    assert packed(found.slice(0, 0)) == b""
    assert unpacked(b"").equals(found.slice(0, 0))
