"""Classification: how good a classifier is, per class and over all."""

# Shape letters: N = rows, C = classes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raygen.errors import MetricInputError
from raygen.metrics.calibration import bin_by_confidence, checked

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Classified:
    """What `classification_metrics` finds."""

    metrics: dict[str, float]
    details: dict[str, Any]  # JSON: labels, confusion (rows are the truth), support, calibration


def classification_metrics(
    probabilities_NC: np.ndarray, labels_N: np.ndarray, names: Sequence[str]
) -> Classified:
    """Measure predictions: accuracy, precision, recall and F1, and the expected calibration error.

    Args:
        probabilities_NC: of each class, float (N, C), rows that sum to 1, N >= 1, C >= 2; the highest is the prediction,
            the first of several.
        labels_N: the true classes, int (N,), in [0, C).
        names: of the C classes, in order, all different.

    Returns:
        Metrics in [0, 1], higher is better but for `ece`: `accuracy`; `macro_precision`, `macro_recall`, `macro_f1`
        (unweighted means over all C classes, also those that do not occur); `weighted_f1` (mean weighted by support);
        `precision_<name>`, `recall_<name>`, `f1_<name>`; `ece` (15 bins). What divides by zero is 0: the precision of
        a class that was never predicted, the recall of one that does not occur.
        Details: `labels`; `confusion`, rows counted as [truth][prediction]; `support`, rows of each label; `calibration`,
        the bins.

    Raises:
        MetricInputError: shapes, labels, names or values are not such.

    Source:
        F1: van Rijsbergen, "Information Retrieval", 2nd edition, 1979, chapter 7; computed by scikit-learn's
        `precision_recall_fscore_support`. Macro-F1 is the mean of the classes' F1 (not the F1 of mean precision and
        recall: Opitz and Burst 2019, arXiv:1911.03347).
    """
    import numpy as np
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    probabilities_NC, labels_N = checked(probabilities_NC, labels_N, probabilities=True)
    classes = range(probabilities_NC.shape[1])
    if len(names) != len(classes) or len(set(names)) != len(names):
        raise MetricInputError(
            f"names {', '.join(names)}: wanted {len(classes)}, all different, one for each class"
        )
    bins = bin_by_confidence(probabilities_NC, labels_N)
    predicted_N = probabilities_NC.argmax(axis=1)
    each = precision_recall_fscore_support(labels_N, predicted_N, labels=list(classes), zero_division=0.0)
    precision_C, recall_C, f1_C, support_C = (np.asarray(values) for values in each)
    metrics = {
        "accuracy": float((predicted_N == labels_N).mean()),
        "macro_f1": float(f1_C.mean()),
        "weighted_f1": float((f1_C * support_C).sum() / support_C.sum()),
        "macro_precision": float(precision_C.mean()),
        "macro_recall": float(recall_C.mean()),
        "ece": bins.error,
    }
    for c, name in enumerate(names):
        metrics |= {
            f"precision_{name}": float(precision_C[c]),
            f"recall_{name}": float(recall_C[c]),
            f"f1_{name}": float(f1_C[c]),
        }
    details = {
        "labels": list(names),
        "confusion": confusion_matrix(labels_N, predicted_N, labels=list(classes)).tolist(),
        "support": {name: int(n) for name, n in zip(names, support_C, strict=True)},
        "calibration": bins.as_json(),
    }
    return Classified(metrics, details)
