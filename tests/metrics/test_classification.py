from __future__ import annotations

import json

import numpy as np
import pytest

from raygen.errors import MetricInputError
from raygen.metrics.classification import classification_metrics

NAMES = ("entailment", "neutral", "contradiction")


def one_hot(predicted: list[int], classes: int = 3) -> np.ndarray:
    return np.eye(classes)[predicted]


def test_known_answers() -> None:
    # truth 0 0 0 1 1 2, predicted 0 0 1 1 2 2
    found = classification_metrics(one_hot([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 2]), NAMES)
    expected = {
        "accuracy": 4 / 6,
        "precision_entailment": 1.0,
        "recall_entailment": 2 / 3,
        "f1_entailment": 0.8,
        "precision_neutral": 0.5,
        "recall_neutral": 0.5,
        "f1_neutral": 0.5,
        "precision_contradiction": 0.5,
        "recall_contradiction": 1.0,
        "f1_contradiction": 2 / 3,
        "macro_precision": 2 / 3,
        "macro_recall": (2 / 3 + 0.5 + 1) / 3,
        "macro_f1": (0.8 + 0.5 + 2 / 3) / 3,
        "weighted_f1": (3 * 0.8 + 2 * 0.5 + 2 / 3) / 6,
        "ece": 2 / 6,  # all are sure, a third is wrong
    }
    assert found.metrics == pytest.approx(expected)
    assert found.details["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]  # rows are the truth
    assert found.details["support"] == {"entailment": 3, "neutral": 2, "contradiction": 1}
    assert found.details["labels"] == list(NAMES)
    assert found.details["calibration"]["count"] == [*[0] * 14, 6]


def test_all_right() -> None:
    metrics = classification_metrics(one_hot([0, 1, 2]), np.array([0, 1, 2]), NAMES).metrics
    assert {name for name, value in metrics.items() if value != 1} == {"ece"}
    assert metrics["ece"] == 0


def test_division_by_zero_is_zero() -> None:
    # class 1 is never predicted; class 2 neither occurs nor is predicted, and counts in the macro means
    metrics = classification_metrics(one_hot([0, 0]), np.array([0, 1]), NAMES).metrics
    assert metrics["precision_neutral"] == metrics["recall_contradiction"] == 0
    assert metrics["macro_f1"] == pytest.approx(2 / 3 / 3)
    assert metrics["weighted_f1"] == pytest.approx(1 / 3)


def test_everything_is_json() -> None:
    found = classification_metrics(one_hot([0, 1]).astype(np.float32), np.array([0, 1]), NAMES)
    again = json.loads(json.dumps({"metrics": found.metrics, "details": found.details}, allow_nan=False))
    assert again == {"metrics": found.metrics, "details": found.details}


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "b")])
def test_names_that_do_not_fit_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(MetricInputError, match="wanted 3, all different"):
        classification_metrics(one_hot([0]), np.array([0]), names)
