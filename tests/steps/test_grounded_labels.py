"""The hand-labelled replies of jobs/grounded_qa.yaml can be counted on: enough of them, each once, and of both kinds."""

from __future__ import annotations

from benchmarks.quality.grounded_qa import labels, measured


def test_labels_are_enough_and_consistent() -> None:
    rows = labels().values()
    assert len({row["passage_id"] for row in rows}) >= 59
    assert all(row["grounded"] for row in rows if row["answers"])
    assert {row["shown"] for row in rows} == {"first", "accepted"}


def test_only_labelled_replies_count() -> None:
    known = list(labels())
    found = measured([known[0], ("global-001", "nobody has labelled this")], 100)
    assert (found["rows"], found["labelled"], found["tokens_a_row"]) == (2, 1, 50)
    right = [key for key, row in labels().items() if row["grounded"]]
    assert measured(right, 1)["grounded"] == 1
