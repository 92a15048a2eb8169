from __future__ import annotations

import numpy as np
import pytest

from raygen.errors import MetricInputError
from raygen.metrics.calibration import (
    TEMPERATURES,
    bin_by_confidence,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def drawn(seed: int, rows: int = 4000, scale: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their very softmax: perfectly calibrated."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, scale, (rows, 3))
    return logits, (random.random((rows, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1)


def test_error_by_hand() -> None:
    # 0.95: two of two right; 0.7: one of two right. (2 * 0.05 + 2 * 0.2) / 4
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], [0.7, 0.3], [0.3, 0.7]])
    assert expected_calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(0.125)


def test_bins_are_closed_above_and_hold_every_row() -> None:
    probabilities = np.array([[0.6, 0.4], [1.0, 0.0], [0.5, 0.5], [0.61, 0.39]])
    bins = bin_by_confidence(probabilities, np.array([0, 0, 0, 1]), bins=5)
    assert bins.edges == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert bins.count == [0, 0, 2, 1, 1]
    assert bins.accuracy == [None, None, 1.0, 0.0, 1.0]
    assert bins.confidence[2] == pytest.approx(0.55)


def test_calibrated_predictions_have_almost_no_error() -> None:
    logits, labels = drawn(0)
    assert expected_calibration_error(softmax(logits), labels) < 0.025
    assert expected_calibration_error(softmax(3 * logits), labels) > 0.1


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_known_one(factor: float) -> None:
    logits, labels = drawn(1, rows=20_000)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_temperature_is_the_best_and_never_worse_than_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 3, (30, 3)), random.integers(0, 3, 30)
    fitted = fit_temperature(logits, labels)
    grid = np.geomspace(*TEMPERATURES, 400)
    assert TEMPERATURES[0] <= fitted <= TEMPERATURES[1] * (1 + 1e-6)
    best = min(negative_log_likelihood(logits, labels, t) for t in [1.0, *grid])
    assert negative_log_likelihood(logits, labels, fitted) <= best + 1e-6


def test_temperature_stays_in_bounds_where_there_is_no_optimum() -> None:
    right = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(right, np.array([0, 1])) == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert fit_temperature(right, np.array([1, 0])) == pytest.approx(TEMPERATURES[1], rel=1e-3)
    assert fit_temperature(np.zeros((2, 2)), np.array([1, 0])) == 1.0


def test_large_logits_do_not_overflow() -> None:
    logits, labels = drawn(2, rows=100)
    assert np.isfinite(fit_temperature(1e4 * logits, labels))


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), r"shape \(0, 2\)"),
        (np.zeros(3), np.zeros(3, int), r"shape \(3,\)"),
        (np.full((2, 2), 0.5), np.zeros(3, int), "wanted 2 whole numbers"),
        (np.full((2, 2), 0.5), np.zeros(2), "float64"),
        (np.full((2, 2), 0.5), np.array([0, 2]), "from 0 to 2: there are 2 classes"),
        (np.full((2, 2), 0.5), np.array([0, -1]), "from -1"),
        (np.array([[0.5, 0.5], [np.nan, 1.0]]), np.array([0, 1]), "row 1 are not finite"),
        (np.array([[0.5, 0.5], [0.5, 0.9]]), np.array([0, 1]), "row 1 is no distribution"),
        (np.array([[0.5, 0.5], [1.5, -0.5]]), np.array([0, 1]), "row 1 is no distribution"),
    ],
)
def test_wrong_input_is_named(scores: np.ndarray, labels: np.ndarray, said: str) -> None:
    with pytest.raises(MetricInputError, match=said):
        expected_calibration_error(scores, labels)
