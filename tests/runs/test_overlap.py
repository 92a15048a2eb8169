"""Overlap: which chunks of an older run hold the rows of each new chunk, found in bounded memory."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from raygen.errors import ConfigError
from raygen.runs import overlap
from raygen.runs.overlap import Overlap, find_overlap


def find(old: list[list[str]], new: list[list[str]]) -> Overlap:
    return find_overlap(
        *(((n, pa.array(ids, pa.string())) for n, ids in enumerate(run)) for run in (old, new))
    )


def chunks(ids: list[str], size: int) -> list[list[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


@pytest.mark.parametrize("buffered", [1, 7, 1000])
def test_every_chunk_is_told_where_its_rows_are(monkeypatch: pytest.MonkeyPatch, buffered: int) -> None:
    monkeypatch.setattr(overlap, "BUFFERED_ROWS", buffered)
    ids = [f"row {n}" for n in range(300)]
    old, shuffled = chunks(ids[:200], 9), random.Random(1).sample(ids, 250)
    new = chunks(shuffled, 11)
    place = {row: chunk for chunk, rows in enumerate(old) for row in rows}
    found = find(old, new)
    assert found.rows == sum(row in place for row in shuffled)
    for number, rows in enumerate(new):
        assert found.of(number) == tuple(sorted({place[row] for row in rows if row in place}))
    assert found.of(len(new)) == ()


def test_runs_without_rows_overlap_nowhere() -> None:
    assert (find([], [["a"]]).rows, find([["a"]], []).rows, find([[]], [[]]).of(0)) == (0, 0, ())


def test_an_order_beyond_reason_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "MOST_PLACES", 8)
    with pytest.raises(ConfigError, match="in an order so different that more than 8 chunks"):
        find([[str(n)] for n in range(9)], [[str(n) for n in range(9)]])
