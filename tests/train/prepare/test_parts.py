"""Parts: every row is in the slice of its digest, and any run of slices is read back alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from raygen.storage import LocalStore
from raygen.train.families.text_units import TextExample, TextUnits
from raygen.train.prepare.alike import digests, encoded_schema
from raygen.train.prepare.parts import Part, Parts, read_slices, write_part

ENCODED = encoded_schema(TextUnits())


def encoded(first: int, stop: int) -> pa.Table:
    rows = []
    for n in range(first, stop):
        example = TextExample(f"r{n}", [n, n + 1], [-100, n + 1])
        digest, answer = digests(TextUnits(), example, 0)
        rows.append(
            {"place": n, "copy": 0, "split": 0, "digest": digest, "origin": digest, "answer": answer, "row_id": f"r{n}",
             "input_ids": example.input_ids, "targets": example.targets, "type_ids": []}
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=ENCODED)


def test_slices_of_all_parts_come_together_and_hold_every_row_once(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    keys = [write_part(store, encoded(n, n + 50), "digest", 7).key for n in (0, 50, 100)]
    found = [
        read_slices(store, keys, *borders, schema=ENCODED).to_pylist() for borders in ((0, 2), (2, 3), (3, 7))
    ]
    assert sorted(row["place"] for rows in found for row in rows) == list(range(150))
    whole = {row["place"]: row for row in encoded(0, 150).to_pylist()}
    assert all(whole[row["place"]] == row for rows in found for row in rows)
    highest = [max(row["digest"] for row in rows) for rows in found]
    assert all(
        min(row["digest"] for row in rows) > top for rows, top in zip(found[1:], highest, strict=False)
    )


def test_an_empty_slice_is_no_rows(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    part = write_part(store, encoded(0, 2), "digest", 1000)
    assert sum(size > 0 for size in part.sizes_bytes) == 2
    empty = next(number for number, size in enumerate(part.sizes_bytes) if not size)
    assert read_slices(store, [part.key], empty, empty + 1, ENCODED).num_rows == 0
    assert read_slices(store, [part.key], 0, 1000, ENCODED).num_rows == 2


def test_buckets_hold_what_the_budget_allows() -> None:
    parts = Parts(5)
    parts.add(Part("a", [3, 0, 4, 1, 1]))
    parts.add(Part("b", [1, 0, 2, 1, 9]))
    assert parts.buckets(10) == [(0, 3), (3, 4), (4, 5)]  # 4 + 0 + 6; 2; 10
    assert parts.buckets(5) == [(0, 2), (2, 3), (3, 4), (4, 5)]  # a slice is never cut
    assert parts.buckets(100) == [(0, 5)]
    assert Parts(3).buckets(1) == [(0, 3)]
