from __future__ import annotations

import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raygen.datasets.python_docs import write_passages
from raygen.errors import SourceError


def test_passages_are_prose(tmp_path: Path) -> None:
    path = tmp_path / "data" / "passages.parquet"
    count = write_passages(path)
    rows = pq.read_table(path).to_pylist()
    assert count == len(rows) >= 300
    assert len({row["passage_id"] for row in rows}) == len({row["text"] for row in rows}) == count
    first = rows[0]
    assert first["passage_id"] == "assert-001"
    assert first["topic"] == "assert"
    assert first["title"] == "The assert statement"
    assert first["text"].startswith(
        "Assert statements are a convenient way to insert debugging assertions into a"
    )
    for row in rows:
        assert len(row["text"].split()) >= 25
        assert not re.search(r"::=|>>>|\+--|====|\*\*\*\*|  |[a-z]- [a-z]", row["text"])
        assert row["title"]
        paragraphs = row["text"].split("\n\n")
        assert len(paragraphs) == 1 or len(row["text"].split()) <= 160


def test_shorter_passages(tmp_path: Path) -> None:
    assert write_passages(tmp_path / "a.parquet", max_words=60) > write_passages(tmp_path / "b.parquet")


def test_a_python_without_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(SourceError, match=r"pydoc_data\.topics"):
        write_passages(tmp_path / "a.parquet")
