"""Step counts: what columns of decisions add up to is what a walk over the rows finds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

import raygen
from raygen.reports.step_counts import Ranking, StepCounts, rejections_of, score_names
from raygen.runs.outcome import Outcome, outcome_table
from raygen.steps.spec import step_names
from tests.review.traced_run import STEPS, traced_run
from tests.steps.scripted import Judge, Writer, job_of, run

LINEAGE: dict[str, Any] = {"models": []}
GENERATE = {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 2}}
CHECK = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.5}}}
REFINE = {"refine": {"prompt": "again {{ sample }}", "budget": 1}}
LONG = {"name": "long", "score": {"length": "words"}}
BEST = {"select": {"best": "long"}}


def outcomes(*steps: dict[str, Any]) -> list[Outcome]:
    """Rows whose samples are good or bad as their text says: `good bad` is a row's first and second sample."""
    job = job_of(*steps)

    def answer(prompt: str, n: int) -> str:
        return (
            "good at last"
            if prompt == "again bad mend"
            else prompt.split(", ")[n]
            if ", " in prompt
            else "bad"
        )

    judge = Judge(lambda premise, hypothesis: float("good" in hypothesis))
    rows = ["good, good one more", "good, bad", "bad mend, bad", "bad, bad", " , "]
    return [run(job, Writer(answer), judge, f"r{n}", text=row) for n, row in enumerate(rows)]


def table_of(found: list[Outcome]) -> pa.Table:
    return outcome_table(found, LINEAGE, {})


def test_figures_of_every_step() -> None:
    steps = (GENERATE, CHECK, REFINE, LONG, BEST)
    counts = StepCounts(job_of(*steps))
    table = table_of(outcomes(*steps))
    counts.add(table.slice(0, 3))
    counts.add(table.slice(3))
    assert (counts.rows, counts.accepted) == (5, 3)
    figures = [
        (f.name, f.taken, f.passed, f.rejected, f.dropped, f.rows_ended, f.rows_left)
        for f in counts.figures()
    ]
    assert figures == [
        ("generate", 10, 8, 2, 0, 0, 5),  # two of the last row's are empty
        ("verify", 11, 4, 7, 0, 0, 5),
        ("refine", 3, 1, 2, 0, 2, 3),
        ("long", 4, 4, 0, 0, 0, 3),
        ("select", 4, 3, 0, 1, 0, 3),
    ]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return raygen.open_run(traced_run(tmp_path_factory.mktemp("counted"), rows=60)).to_arrow()


def test_columns_add_up_to_what_rows_say(table: pa.Table) -> None:
    job = job_of(*STEPS)
    counts = StepCounts(job)
    for start in range(0, 60, 7):
        counts.add(table.slice(start, 7))
    rows = table.to_pylist()
    names = step_names(job.steps)
    decisions = Counter(
        (a["step"], a["decision"]) for row in rows for a in row["attempts"] if a["sample"] is not None
    )
    tokens: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    mended: Counter[str] = Counter()
    for row in rows:
        for sample in [*row["samples"], *row["discarded"]]:
            tokens[sample["step"]] += sample["usage"]["output_tokens"]
        if row["status"] != "accepted":
            ended[names[max(names.index(a["step"]) for a in row["attempts"])]] += 1
        bad = {a["sample"] for a in row["attempts"] if a["decision"] == "not_entailed"}
        mended["refine"] += sum(
            a["decision"] == "refined" and a["sample"] not in bad for a in row["attempts"]
        )
    made = {step: {"output_tokens": n} for step, n in tokens.items()}
    assert (counts.decisions, counts.made, counts.ended) == (decisions, made, ended)
    assert counts.mended == +mended
    assert sum(ended.values()) > 0 < mended["refine"]


def test_rejections_name_the_step_that_said_the_reason(table: pa.Table) -> None:
    [(count, row)] = rejections_of(table)
    rejected = [each for each in table.to_pylist() if each["status"] == "rejected"]
    assert count == len(rejected)
    assert (row.row_id, row.step, row.reason) == (rejected[0]["row_id"], "verify", "not_entailed")
    assert row.finding == rejected[0]["attempts"][-1]["detail"]


def test_a_reason_is_told_apart_by_its_step() -> None:
    """The last sample is empty, though the check has the last word about the first one."""
    writer = Writer(lambda prompt, n: ["bad", " "][n])
    found = run(job_of(GENERATE, CHECK), writer, Judge(lambda p, h: 0.0), text="x")
    other = run(job_of(GENERATE, CHECK), Writer(lambda p, n: "bad"), Judge(lambda p, h: 0.0), "r2", text="x")
    assert [
        (n, each.row_id, each.step, each.reason) for n, each in rejections_of(table_of([found, other, found]))
    ] == [
        (2, "r1", "generate", "empty_output"),
        (1, "r2", "verify", "not_entailed"),
    ]
    silent = Outcome("r3", "rejected", "duplicate")
    assert [(n, *row) for n, row in rejections_of(table_of([silent]))] == [(1, "r3", None, "duplicate", None)]


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([GENERATE, CHECK, LONG], ["long", "verify"]),
        ([GENERATE, LONG, CHECK, BEST], ["long", "verify"]),
        ([GENERATE, LONG, CHECK], ["verify", "long"]),
        ([GENERATE, LONG, BEST, GENERATE], []),
        ([GENERATE], []),
    ],
)
def test_rows_are_ranked_by_what_the_job_selects_by(steps: list[dict[str, Any]], names: list[str]) -> None:
    assert score_names(job_of(*steps)) == names


def test_the_highest_the_middle_and_the_lowest() -> None:
    ranking = Ranking(["none", "long"])
    assert ranking.ranked() is None
    scored = [("a", 3.0), ("b", float("nan")), ("c", 9.0), ("d", 1.0), ("e", 2.0), ("f", 9.0)]
    rows = [Outcome(name, "accepted", samples=[{"scores": {"long": score}}]) for name, score in scored]
    rows.insert(3, Outcome("x", "rejected", "r", samples=[{"scores": {"long": 99.0}}]))
    ranking.add(0, table_of(rows[:4]))
    ranking.add(5, table_of(rows[4:]))
    found = ranking.ranked()
    assert found is not None
    assert (found.score, found.scored) == ("long", 5)
    assert found.rows == [("highest", 9.0, 0, 2), ("median", 3.0, 0, 0), ("lowest", 1.0, 5, 0)]
    one = Ranking(["long"])
    one.add(0, table_of(rows[:1]))
    alone = one.ranked()
    assert alone is not None
    assert alone.rows == [("highest", 3.0, 0, 0)]
