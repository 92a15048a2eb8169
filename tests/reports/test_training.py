from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raygen.metrics.calibration import bin_by_confidence
from raygen.metrics.classification import classification_metrics
from raygen.reports.plots import training as training_plots
from raygen.reports.plots.training import Curves
from raygen.reports.training import render_train_report, verdict, write_train_report
from raygen.storage import open_store
from tests.reports.plots.test_run import pictures, texts
from tests.reports.test_run import HOSTILE, Page, check_asks_for_nothing

NAMES = ("entailment", "neutral", "contradiction")
RECIPE = {"name": "nli", "base": "./minilm", "evaluation": {"metric": "macro_f1"}, "seed": 7}
COUNTS = {"rows": 1204, "train": 1000, "validation": 100, "test": 100, "broken": 1, "lemmas_shared": 3}


def step(number: int, loss: float | None = 0.5, tokens: int = 4096, seconds: float = 0.5) -> dict[str, Any]:
    return {
        **{"step": number, "epoch": number // 50, "loss": loss, "learning_rate": 1e-4 / number},
        **{"grad_norm": 1.0, "tokens": tokens, "targets": 32, "seconds": seconds},
    }


def evaluation(number: int, split: str = "validation", **metrics: float | None) -> dict[str, Any]:
    return {"step": number, "split": split, "metrics": metrics}


def classified() -> dict[str, Any]:
    predicted, truth = [0, 0, 1, 1, 2, 2], np.array([0, 0, 0, 1, 1, 2])
    found = classification_metrics(0.7 * np.eye(3)[predicted] + 0.1, truth, NAMES)
    before = bin_by_confidence(np.eye(3)[predicted], truth)
    uncalibrated = {"ece": before.error, "calibration": before.as_json()}
    worst = [
        {"row_id": "r-9", "loss": 3.25, "text": "a dog [SEP] a cat", "label": "neutral", "probability": None}
    ]
    return {
        "metrics": {"loss": 0.75, **found.metrics},
        "details": {**found.details, "temperature": 1.5, "uncalibrated": uncalibrated},
        "worst": worst,
    }


RECORDS = [
    *(step(n, 2.0 / n) for n in range(1, 121)),
    evaluation(60, loss=0.9, macro_f1=0.5),
    evaluation(120, loss=0.8, macro_f1=0.625),
    evaluation(120, "test", loss=0.7, macro_f1=0.1),
]
BASELINES = {"majority": {"metrics": {"accuracy": 0.5, "macro_f1": 0.222}}}


@pytest.fixture(scope="module")
def full() -> Page:
    evaluated = {"validation": classified(), "test": classified(), "baselines": BASELINES}
    return Page(render_train_report("s3://bucket/nli", "nli", RECIPE, RECORDS, evaluated, COUNTS))


def test_figures_are_right(full: Page) -> None:
    for said in (
        "On the test split, 66.7% of 6 examples are right; macro-F1 0.6556.",
        "Run s3://bucket/nli Base ./minilm",
        "Steps 120 in 3 epochs",
        "Time in steps 1 min",
        "Tokens 491,520 padding included",
        "Tokens a second 8,192 in steps",
        "Validation macro f1 0.625 0.5 at first",
        "Metric Test Validation loss 0.75 0.75 accuracy 0.6667 0.6667",
        "Rows read 1,204 Examples to train on 1,000",
        "Broken rows, skipped 1 Lemmas shared 3",
        "seed: 7",
    ):
        assert said in full.text, said
    assert f"Training loss {sum(2 / n for n in range(101, 121)) / 20:.4g} last 20 steps" in full.text
    assert "f1 neutral" not in full.text  # metrics of one class are in a table of their own


def test_classes_confusion_and_baselines(full: Page) -> None:
    assert "Label Precision Recall F1 Examples entailment 1 0.6667 0.8 3 neutral 0.5 0.5 0.5 2" in full.text
    matrix = "entailment 2 66.7% 1 33.3% 0 0% neutral 0 0% 1 50% 1 50% contradiction 0 0% 0 0% 1 100%"
    assert f"Truth entailment neutral contradiction {matrix}" in full.text
    shades = re.findall(r"--accent\) (\d+)%", " ".join(str(td.get("style")) for td in full.of("td")))
    assert shades[:4] == ["37", "18", "0", "0"]  # of the row, at most 55
    baselines = "Model Accuracy Macro f1 This model 0.6667 0.6556 majority 0.5 0.222"
    assert f"Beside baselines, on the test split {baselines}" in full.text


def test_the_headline_is_of_the_model_that_was_kept() -> None:
    records = [*RECORDS, evaluation(180, loss=0.9, macro_f1=0.25)]
    page = Page(render_train_report("x", "x", RECIPE, records, {"test": classified()}, {}, kept=120))
    kept = "Validation macro f1 0.625 at step 120, which was kept; 0.5 at first, 0.25 at last"
    assert kept in page.text
    assert "A baseline does better" not in page.text


def test_the_headline_says_when_a_baseline_does_better() -> None:
    baselines = {
        "majority": {
            "metrics": {"accuracy": 0.6667, "macro_f1": 0.6, "ece": 0.01}
        },  # 0.6667 is more than two thirds
        "words only": {"metrics": {"accuracy": 0.5, "macro_f1": 0.7, "ece": 0.5}},
    }
    evaluated = {"test": classified(), "baselines": baselines}
    page = Page(render_train_report("x", "x", RECIPE, RECORDS, evaluated, {}))
    better = "A baseline does better: macro f1 is 0.7 of words only, 0.6556 of this model; accuracy is 0.6667 of majority"
    assert f"macro-F1 0.6556. {better}, 0.6667 of this model." in page.text
    recipe = {**RECIPE, "evaluation": {"metric": "ece"}}
    page = Page(render_train_report("x", "x", recipe, RECORDS, evaluated, {}))
    assert "A baseline does better: ece is 0.01 of majority, 0.1333 of this model;" in page.text


def test_every_panel_stands_on_a_number() -> None:
    records = [evaluation(n, macro_f1=value) for n, value in ((10, 0.3877), (20, 0.31), (30, 0.2205))]
    wide, _ = pictures(training_plots.training_curves(Curves.of(records), "macro_f1"))
    shown = [float(text) for text in texts(wide) if text.startswith("0.")]
    assert min(shown) <= 0.2205


def test_calibration_before_and_after(full: Page) -> None:
    assert (
        "Expected calibration error 0.1333, 0.3333 before; temperature 1.5, fitted on the validation"
        in full.text
    )
    labels = [str(svg["aria-label"]) for svg in full.of("svg")]
    assert labels.count("Accuracy over confidence of 6 rows: 67% right at 80%") == 4  # 2 splits, 2 widths


def test_curves_say_what_they_show(full: Page) -> None:
    label = full.of("svg")[0]["aria-label"]
    assert label == (
        "Training over 120 steps: loss 2 at first, 0.0167 at last; validation loss 0.9 at first, 0.8 at last; "
        "validation macro f1 0.5 at first, 0.625 at last"
    )
    wide, narrow = pictures(training_plots.training_curves(Curves.of(RECORDS), "macro_f1"))
    for picture in (wide, narrow):
        shown = texts(picture)
        assert {"loss", "macro f1", "learning rate", "tokens/s", "step", "● training"} <= set(shown)


def test_worst_examples_are_shown(full: Page) -> None:
    assert (
        "r-9 loss 3.25 text a dog [SEP] a cat label neutral probability –"
        in full.text.split("highest loss")[1]
    )


def test_page_asks_for_nothing_and_is_well_formed(full: Page) -> None:
    check_asks_for_nothing(full)
    assert full.open == []
    ids = [attrs["id"] for _, attrs in full.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in full.of("a")} <= {f"#{name}" for name in ids}


def test_a_language_model_has_no_classes() -> None:
    evaluated = {"validation": {"metrics": {"loss": 2.25, "perplexity": 9.4877}, "details": {}, "worst": []}}
    page = Page(render_train_report("runs/lm", "lm", {}, RECORDS, evaluated, COUNTS))
    assert "On the validation split, the loss is 2.25, perplexity 9.488." in page.text
    assert "Confusion" not in page.text
    assert "Calibration" not in page.text
    assert "Validation loss 0.8 0.9 at first" in page.text


@pytest.mark.parametrize("records", [[], [step(1)], [evaluation(0, loss=1.0)]], ids=["none", "one", "before"])
def test_little_is_drawn_as_it_is(records: list[dict[str, Any]]) -> None:
    page = Page(render_train_report("runs/x", "x", {}, records, {}, {}))
    assert page.open == []
    assert "not finished" in page.text
    assert "nan" not in page.text.lower()
    assert bool(page.of("svg")) == bool(records)


def test_verdict_without_an_evaluation() -> None:
    assert verdict({}, Curves.of([])) == "Nothing has been trained yet."
    assert (
        verdict({}, Curves.of([step(1), step(2)])) == "Trained for 2 steps; the final evaluation is missing."
    )


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_is_no_number_is_said_and_left_out(missing: float | None) -> None:
    records = [step(1, 1.0), step(2, missing), step(3, 0.5), evaluation(3, loss=missing, macro_f1=missing)]
    result = classified()
    result["metrics"] |= {"loss": missing, "macro_f1": missing}
    page = Page(render_train_report("runs/x", "x", RECIPE, records, {"test": result}, {}))
    assert "The loss of 1 step is not a number" in page.text
    assert "Training loss 0.75" in page.text
    assert "macro-F1 not a number." in page.text
    for picture in page.of("path"):
        assert "nan" not in str(picture.get("d")).lower()


def test_only_missing_numbers_are_drawn_as_nothing() -> None:
    records = [step(n, math.nan, seconds=0) | {"learning_rate": None} for n in range(1, 400)]
    assert training_plots.training_curves(Curves.of(records), "loss") == ""


def test_long_trainings_stay_small_and_quick() -> None:
    spike = 77_777
    records = [step(n, 9.0 if n == spike else 1.0) for n in range(1, 100_001)]
    records += [evaluation(n, loss=1.0, macro_f1=0.5) for n in range(1, 100_001, 20)]
    evaluated = {"test": {"metrics": {"loss": 1.0}, "worst": [{"row_id": "r", "text": "<&" * 10**5}] * 500}}
    began = time.perf_counter()
    html = render_train_report("runs/x", "x", RECIPE, records, evaluated, COUNTS)
    assert time.perf_counter() - began < 5
    assert len(html.encode()) < 1_500_000
    shown = html.count("<article")
    assert 1 < shown < 40  # fewer than their number alone allows
    assert f"{500 - shown} more were left out to keep this page small" in html
    steps, _, _, high = training_plots.thinned(Curves.of(records).loss, 300)
    assert len(steps) == 300
    assert high.max() == 9.0  # a spike is still to be seen


def test_speed_is_tokens_over_seconds_not_a_mean_of_rates() -> None:
    records = [step(1, tokens=100, seconds=1), step(2, tokens=100, seconds=3)]
    assert "Tokens a second 50 in steps" in Page(render_train_report("x", "x", {}, records, {}, {})).text


def test_many_labels_are_put_together() -> None:
    names = [f"label {n}" for n in range(40)]
    truth = np.repeat(np.arange(40), [10] * 23 + [1] * 17)
    found = classification_metrics(np.eye(40)[truth], truth, names)
    result = {"metrics": found.metrics, "details": found.details}
    page = Page(render_train_report("x", "x", {}, [], {"test": result}, {}))
    assert "17 rarer labels left out." in page.text
    assert "17 others" in page.text
    assert len([td for td in page.of("td") if "color-mix" in str(td.get("style"))]) == 24 * 24


def hostile(value: Any) -> Any:
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: hostile(each) for key, each in value.items()}
    return [hostile(each) for each in value] if isinstance(value, list) else value


def test_hostile_strings_stay_text() -> None:
    result = classified()
    labels = [f"{HOSTILE}{n}\u202e" for n in range(3)]
    result["details"]["labels"] = labels
    result["metrics"] |= {f"f1_{label}": 0.5 for label in labels}
    result["worst"] = [{"row_id": HOSTILE, "loss": 1.0, HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}}]
    recipe = {**hostile(RECIPE), "evaluation": {"metric": f"f1_{labels[0]}"}}
    records = [step(1), evaluation(1, **{f"f1_{labels[0]}": 0.5})]
    evaluated = {"test": result, "baselines": {HOSTILE: {"metrics": {"accuracy": 0.5}}}}
    page = Page(render_train_report(HOSTILE, HOSTILE, recipe, records, evaluated, {HOSTILE: 1}))
    check_asks_for_nothing(page)
    assert page.open == []
    assert page.text.count("{{ 7 * 7 }}") > 10
    assert "49" not in page.text
    assert "\u202e" not in page.text


def test_report_is_written_into_the_run(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "run"))
    uri = write_train_report(store, "nli", RECIPE, RECORDS, {"test": classified()}, COUNTS)
    assert uri == store.uri_of("report.html")
    assert store.get("report.html").startswith(b"<!DOCTYPE html>")
