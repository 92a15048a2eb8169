"""Calibration: does a classifier's confidence mean what it says, and the temperature that makes it so."""

# Shape letters: N = rows, C = classes, B = bins.

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from raygen.errors import MetricInputError

if TYPE_CHECKING:
    import numpy as np

BINS = 15
TEMPERATURES = (
    0.2,
    20.0,
)  # of a split that is all right the best one is 0: no probability is to be that sure


@dataclass(frozen=True)
class Bins:
    """Rows by confidence, in bins of equal width over [0, 1]."""

    edges: list[float]  # B + 1
    confidence: list[float | None]  # mean of each bin's rows; None where there are none
    accuracy: list[float | None]  # share of each bin's rows that are right
    count: list[int]

    @property
    def error(self) -> float:
        """The expected calibration error, in [0, 1]; lower is better.

        Source:
            Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, equation 3.
        """
        rows = sum(self.count)
        pairs = zip(self.confidence, self.accuracy, self.count, strict=True)
        return sum(abs(c - a) * n / rows for c, a, n in pairs if c is not None and a is not None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def bin_by_confidence(probabilities_NC: np.ndarray, labels_N: np.ndarray, bins: int = BINS) -> Bins:
    """Bin rows by the probability of the class that they are given, each bin being (low, high].

    Args:
        probabilities_NC: of each class, float (N, C), rows that sum to 1, N >= 1, C >= 2.
        labels_N: the true classes, int (N,), in [0, C).

    Raises:
        MetricInputError: shapes, labels or values are not such.
    """
    import numpy as np

    probabilities_NC, labels_N = checked(probabilities_NC, labels_N, probabilities=True)
    confidence_N = probabilities_NC.max(axis=1)
    right_N = probabilities_NC.argmax(axis=1) == labels_N
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)
    count_B = np.bincount(bin_N, minlength=bins)
    sums = (np.bincount(bin_N, weights=w, minlength=bins) for w in (confidence_N, right_N))
    confidence, accuracy = (
        [float(s / n) if n else None for s, n in zip(sum_B, count_B, strict=True)] for sum_B in sums
    )
    return Bins([i / bins for i in range(bins + 1)], confidence, accuracy, [int(n) for n in count_B])


def expected_calibration_error(probabilities_NC: np.ndarray, labels_N: np.ndarray, bins: int = BINS) -> float:
    """Return the mean distance of confidence and accuracy, in [0, 1]; lower is better. See `bin_by_confidence`.

    >>> import numpy as np
    >>> round(expected_calibration_error(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 6)
    0.3
    """
    return bin_by_confidence(probabilities_NC, labels_N, bins).error


def negative_log_likelihood(logits_NC: np.ndarray, labels_N: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean -log p(label) in nats, of softmax(logits / temperature); lower is better."""
    import numpy as np
    from scipy.special import log_softmax

    logits_NC, labels_N = checked(logits_NC, labels_N, probabilities=False)
    return float(-log_softmax(logits_NC / temperature, axis=1)[np.arange(len(labels_N)), labels_N].mean())


def fit_temperature(logits_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the T in TEMPERATURES for which softmax(logits / T) gives the labels the highest likelihood.

    The likelihood has one optimum: its logarithm is concave in 1/T. T = 1 is returned where no other is better.

    Args:
        logits_NC: unnormalised scores, float (N, C), N >= 1, C >= 2.
        labels_N: the true classes, int (N,), in [0, C).

    Raises:
        MetricInputError: shapes, labels or values are not such.

    Source:
        Guo et al. 2017, arXiv:1706.04599, section 4.2 (temperature scaling).
    """
    from scipy.optimize import minimize_scalar

    logits_NC, labels_N = checked(logits_NC, labels_N, probabilities=False)
    low, high = TEMPERATURES
    found = minimize_scalar(
        lambda inverse: negative_log_likelihood(logits_NC, labels_N, 1 / inverse),
        bounds=(1 / high, 1 / low),
        method="bounded",
        options={"xatol": 1e-6},
    )
    best = 1 / float(found.x)
    better = negative_log_likelihood(logits_NC, labels_N, best) < negative_log_likelihood(logits_NC, labels_N)
    return best if better else 1.0


def checked(
    scores_NC: np.ndarray, labels_N: np.ndarray, *, probabilities: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores as float64 and labels as int64. Raises MetricInputError."""
    import numpy as np

    scores = np.asarray(scores_NC, np.float64)
    labels = np.asarray(labels_N)
    kind = "probabilities" if probabilities else "logits"
    if scores.ndim != 2 or len(scores) < 1 or scores.shape[1] < 2:
        raise MetricInputError(f"{kind} of shape {scores.shape}: wanted (rows >= 1, classes >= 2)")
    if labels.shape != scores.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise MetricInputError(
            f"labels of shape {labels.shape} and type {labels.dtype}: wanted {len(scores)} whole numbers"
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise MetricInputError(
            f"labels from {labels.min()} to {labels.max()}: there are {scores.shape[1]} classes, from 0"
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise MetricInputError(f"{kind} of row {row} are not finite: {scores[row].tolist()[:10]}")
    if probabilities and (scores.min() < 0 or abs(scores.sum(axis=1) - 1).max() > 1e-3):
        row = int(np.argmax(abs(scores.sum(axis=1) - 1) + (scores.min(axis=1) < 0)))
        raise MetricInputError(f"row {row} is no distribution: {scores[row].tolist()[:10]}")
    return scores, labels.astype(np.int64)
