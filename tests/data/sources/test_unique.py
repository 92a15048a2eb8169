from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.data.sources.unique import UniqueIds
from tests.data.reading import PROPERTY


def test_all_different() -> None:
    with UniqueIds() as ids:
        ids.add(["a", "b"], 0, [0, 1])
        ids.add(["A", "a "], 1, [0, 1])
        assert ids.duplicates() == (0, [])


@PROPERTY
@given(st.lists(st.lists(st.text(max_size=2), max_size=30), max_size=6))
def test_finds_what_a_counter_finds(files: list[list[str]]) -> None:
    expected = {text: n for text, n in Counter(text for file in files for text in file).items() if n > 1}
    with UniqueIds(buffer_bytes=100) as ids:  # spills nearly every time
        for number, file in enumerate(files):
            ids.add(file, number, list(range(len(file))))
        count, first = ids.duplicates()
    assert count == len(expected)
    assert len(first) == min(5, count)
    for text, places in first:
        assert text in expected
        assert places == [(f, r) for f, file in enumerate(files) for r, t in enumerate(file) if t == text][:2]
    assert [places for _, places in first] == sorted(places for _, places in first)


def test_long_ids_differ_by_their_ends() -> None:
    with UniqueIds() as ids:
        ids.add(["x" * 10_000 + "1", "x" * 10_000 + "2", "x" * 10_000 + "1"], 0, [0, 1, 2])
        count, first = ids.duplicates()
    assert count == 1
    assert first[0][1] == [(0, 0), (0, 2)]
    assert len(first[0][0]) < 200


def test_many_ids_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = pa.total_allocated_bytes()
    peak = 0
    tracemalloc.start()
    with UniqueIds() as ids:
        for start in range(0, 400_000, 50_000):
            rows = np.arange(start, start + 50_000)
            ids.add(pa.array([f"document-{row:012d}" for row in rows.tolist()]), 0, rows)
            peak = max(peak, pa.total_allocated_bytes() - before)
        assert list(tmp_path.iterdir())
        ids.add(["document-000000000777"], 3, [5])
        assert ids.duplicates() == (1, [("document-000000000777", [(0, 777), (3, 5)])])
    python_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python_peak + peak < 40e6  # their text alone is 8.4 MB, as Python strings 28 MB
    assert not list(tmp_path.iterdir())
