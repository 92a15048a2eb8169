"""The report's section about steps: figures, reasons, ranked rows, words behind verdicts; nothing of it in a plain run."""

from __future__ import annotations

import dataclasses

import pytest

from raygen.metrics.attribution import Attribution, Word
from raygen.reports.data import (
    ExplainedVerdict,
    RankedRow,
    Rejection,
    SampleRow,
    StepFigures,
    StepReport,
)
from raygen.reports.run import render_report
from raygen.usage import Usage
from tests.reports.test_run import FULL, HOSTILE, Page, check_asks_for_nothing, hostile

ATTRIBUTION = Attribution(
    "Rain falls.",
    "It is <wet>",
    "entailment",
    [
        Word("Rain", "premise", 0.4, 0, 4),
        Word("falls", "premise", -0.21, 5, 10),
        Word("wet", "hypothesis", 0.01, 7, 10),
    ],
    0.93,
    0.73,
    0.0031,
    32,
)
ROW = SampleRow(
    "r-9",
    "accepted",
    None,
    {"topic": "rain"},
    "Ask.",
    [("It rains.", "stop", 4)],
    discarded=[(0, "reply", "It snows.", "it does not follow"), (1, "reply", None, None)],
)
STEPS = StepReport(
    steps=[
        StepFigures(
            "reply", "generate", 200, 195, 5, rows_ended=0, rows_left=100, made=Usage(output_tokens=800)
        ),
        StepFigures("verify", "verify", 200, 80, 120, rows_ended=40, rows_left=60),
        StepFigures("select", "select", 80, 60, 0, 20, rows_ended=0, rows_left=60),
    ],
    rows_counted=100,
    rows_total=1204,
    accepted_counted=60,
    accepted_total=700,
    usage=Usage(output_tokens=7700),
    rejections=[
        Rejection("reply", "empty_output", 100, "r-2", None),
        Rejection("verify", "not_entailed", 300, "r-1", "it does not follow (neutral: 60%)"),
    ],
    score="verify",
    scored=60,
    ranked=[
        RankedRow("highest", 0.98765, ROW),
        RankedRow("lowest", 0.5, dataclasses.replace(ROW, row_id="r-8")),
    ],
    verdicts=[ExplainedVerdict("r-7", "verify", "passed", ATTRIBUTION)],
    notes=["A note."],
)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_report(dataclasses.replace(FULL, steps=STEPS)))


def test_a_run_of_one_step_has_no_such_section() -> None:
    page = Page(render_report(FULL))
    assert "#steps" not in {a["href"] for a in page.of("a")}
    assert "steps" not in {attrs.get("id") for attrs in page.of("section")}
    assert "discarded sample" not in page.text


def test_figures_of_steps_are_right(page: Page) -> None:
    assert "Counted in 100 of 1,204 rows, from chunks spread over the run" in page.text
    assert "The whole run spent 11 output tokens for each accepted row." in page.text
    assert "reused calls" not in page.text
    again = Page(render_report(dataclasses.replace(FULL, steps=dataclasses.replace(STEPS, reused=True))))
    assert "11 output tokens for each accepted row; the column counts those of reused calls too" in again.text
    table = page.text[page.text.index("Output tokens an accepted row") :]
    assert table.startswith(
        "Output tokens an accepted row reply generate 200 195 5 97.5% 0 100% 13 verify 200 80 120 40% 40 60% 0 "
        "select 80 60 0 100% 0 60% 0 A note."
    )
    whole = Page(
        render_report(dataclasses.replace(FULL, steps=dataclasses.replace(STEPS, rows_counted=1204)))
    )
    assert "Counted in all 1,204 rows." in whole.text


def test_the_plot_says_what_it_shows(page: Page) -> None:
    labels = [svg["aria-label"] for svg in page.of("svg")]
    said = "Samples by step: reply 195 of 200 passed, verify 80 of 200 passed, select 60 of 80 passed"
    assert labels.count(said) == 2


def test_reasons_are_ranked_with_step_and_example(page: Page) -> None:
    start = page.text.index("Why rows were rejected, by step")
    assert (
        "not_entailed in verify 300 75% it does not follow (neutral: 60%) row r-1 empty_output in reply 100 25% row r-2"
        in page.text[start:]
    )


def test_ranked_rows_are_cards_with_their_score(page: Page) -> None:
    assert "Accepted rows by verify The highest, lowest of 60 accepted rows, of those counted" in page.text
    assert "r-9 highest · 0.9877 accepted Input topic rain" in page.text
    assert "2 discarded samples It snows. sample 0 of reply: it does not follow" in page.text
    assert len(page.of("article")) == 3 + 2 + 1


def test_words_are_drawn_by_their_strength(page: Page) -> None:
    assert "entailment 0.930, 0.730 with every word hidden; the words add up but for 0.0031" in page.text
    words = [span for span in page.of("span") if span.get("title")]
    assert [(span["class"], span["title"]) for span in words] == [
        ("word p3", "+0.400"),
        ("word n2", "-0.210"),
    ]
    assert "Premise Rain falls . Hypothesis It is <wet>" in page.text


def test_hostile_steps_stay_text() -> None:
    attribution = hostile(dataclasses.replace(ATTRIBUTION, words=[]), HOSTILE)
    attribution.words.append(Word(HOSTILE[:60], "premise", 0.4, 0, 60))
    verdict = ExplainedVerdict(HOSTILE, HOSTILE, HOSTILE, attribution)
    steps = dataclasses.replace(hostile(dataclasses.replace(STEPS, verdicts=()), HOSTILE), verdicts=[verdict])
    page = Page(render_report(dataclasses.replace(FULL, steps=steps)))
    check_asks_for_nothing(page)
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_a_long_story_stays_small() -> None:
    long = dataclasses.replace(ROW, discarded=[(n, "reply", "<" * 10**5, "f" * 10**5) for n in range(1000)])
    words = [Word("w", "premise", 0.1, 2 * n, 2 * n + 1) for n in range(50_000)]
    verdict = ExplainedVerdict(
        "r", "v", "passed", dataclasses.replace(ATTRIBUTION, premise="w " * 50_000, words=words)
    )
    many = [Rejection(f"step-{n}", "r", 1, "r", "m" * 5000) for n in range(500)]
    steps = dataclasses.replace(
        STEPS, ranked=[RankedRow("highest", 1.0, long)], verdicts=[verdict] * 3, rejections=many
    )
    html = render_report(dataclasses.replace(FULL, steps=steps))
    assert len(html.encode()) < 1_500_000
    assert "992 more" in Page(html).text
    assert "450 more reasons of 450 rows are not listed." in Page(html).text


def test_steps_that_met_no_sample_are_not_drawn() -> None:
    nothing = StepReport(
        steps=[StepFigures("a", "generate", 0, 0, 0)], rows_counted=0, rows_total=0, accepted_counted=0
    )
    text = Page(render_report(dataclasses.replace(FULL, steps=nothing))).text
    assert "a generate 0 0 0 – 0 – –" in text
