"""What `raygen show` says of a row, in a line or two."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import raygen
from raygen.pipeline.run import run_job
from raygen.review.show import show_rows
from tests.review.traced_run import STEPS, traced_job, traced_run


def test_answers_are_marked_and_discarded_samples_counted(tmp_path: Path) -> None:
    uri = traced_run(tmp_path, STEPS[:3], rows=20)
    rows = raygen.open_run(uri).to_arrow().to_pylist()
    lines = list(show_rows(uri, 20, None, False))
    for row in rows:
        head = next(n for n, line in enumerate(lines) if line.startswith(f"{row['row_id']}  "))
        assert lines[head].endswith(f"  ({len(row['discarded'])} discarded)") == bool(row["discarded"])
        if row["status"] == "rejected":  # why
            head += 1
            assert lines[head].startswith("    verify: it does not follow from the text (")
        for sample, line in zip(row["samples"], lines[head + 1 :], strict=False):
            assert line == f"    {sample['index']}: {sample['text']}  => {sample['answer']}"
    assert len({len(row["discarded"]) for row in rows}) > 1


def test_a_row_of_one_step_looks_as_ever(tmp_path: Path) -> None:
    uri = traced_run(tmp_path, [{"generate": {"model": "writer", "prompt": "{{ text }}"}}], rows=1)
    [row] = raygen.open_run(uri).to_arrow().to_pylist()
    assert list(show_rows(uri, 1, None, False)) == [
        "p0  accepted  topic=t0",
        f"    0: {row['samples'][0]['text']}",
    ]


def test_kept_values_stay_in_their_line(tmp_path: Path) -> None:
    steps = [{"generate": {"model": "writer", "prompt": "{{ text }}"}}]
    job = traced_job(tmp_path, steps, 2, keep=["text"])
    texts = ["one\ntwo", "x" * 61]
    pq.write_table(pa.table({"id": ["a", "b"], "text": texts, "topic": ["", ""]}), tmp_path / "in.parquet")
    heads = [line for line in show_rows(run_job(job, inline=True).uri, 2, None, False) if "accepted" in line]
    assert heads == ["a  accepted  text=one two", f"b  accepted  text={'x' * 59}…"]


def test_kept_nulls_and_truths_look_as_in_the_input(tmp_path: Path) -> None:
    steps = [{"generate": {"model": "writer", "prompt": "{{ text }}"}}]
    job = traced_job(tmp_path, steps, 1, keep=["topic", "sound"])
    table = pa.table({"id": ["a"], "text": ["x"], "topic": pa.array([None], pa.string()), "sound": [True]})
    pq.write_table(table, tmp_path / "in.parquet")
    assert (
        next(iter(show_rows(run_job(job, inline=True).uri, 1, None, False)))
        == "a  accepted  topic=null, sound=true"
    )
