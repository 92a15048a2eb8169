"""Baselines: what a classifier has to beat: the commonest class, single words, and the words that two sentences share."""

# Shape letters: N = rows, C = classes, F = features.

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from raygen.errors import MetricInputError
from raygen.metrics.classification import Classified, classification_metrics

if TYPE_CHECKING:
    import numpy as np

NEGATIONS = frozenset(
    ("no", "not", "n't", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "few")
)
_WORD = re.compile(r"n't|\w+?(?=n't)|\w+")

Pair = tuple[str, str]  # premise, hypothesis
MOST_FEATURES = 30_000  # words, and twos of words: the commonest
MOST_WEIGHTS = 1_000_000  # of all classes together


def majority_baseline(
    train_labels: Sequence[str], test_labels: Sequence[str], names: Sequence[str] | None = None
) -> Classified:
    """Measure, on the test labels, what always says the commonest training label (the first in order of several).

    Its confidence is that label's share in training.

    Args:
        names: the classes in order; unset: all labels, sorted.
    """
    import numpy as np

    names = _names(names, train_labels, test_labels)
    train_N, test_N = _numbers(train_labels, names), _numbers(test_labels, names)
    shares_C = np.bincount(train_N, minlength=len(names)) / len(train_N)
    return classification_metrics(np.tile(shares_C, (len(test_N), 1)), test_N, names)


def overlap_baseline(
    train_pairs: Sequence[Pair],
    train_labels: Sequence[str],
    test_pairs: Sequence[Pair],
    test_labels: Sequence[str],
    names: Sequence[str] | None = None,
) -> Classified:
    """Measure what never looks at meaning: multinomial logistic regression on `overlap_features`.

    Fitted on the training pairs alone, measured on the test pairs; deterministic.

    Source:
        The cues of McCoy et al. 2019, arXiv:1902.01007 (word overlap), and Gururangan et al. 2018, arXiv:1803.02324
        (negation).
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = _names(names, train_labels, test_labels)
    train_N, test_N = _numbers(train_labels, names), _numbers(test_labels, names)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    train_NF = np.array([overlap_features(*pair) for pair in train_pairs])
    return _fitted(
        model, train_NF, train_N, np.array([overlap_features(*pair) for pair in test_pairs]), test_N, names
    )


def words_baseline(
    train_words: Sequence[Sequence[str]],
    train_labels: Sequence[str],
    test_words: Sequence[Sequence[str]],
    test_labels: Sequence[str],
    names: Sequence[str] | None = None,
) -> Classified:
    """Measure what knows words and twos of neighbours, but no text: multinomial logistic regression on which of them occur.

    Of pairs of sentences, given the second ones alone, it is the hypothesis-only baseline: what it gets right, the pairs
    give away without their premises. Fitted on the training texts alone; deterministic.

    Args:
        train_words, test_words: the words, or tokens, of each text, in order.

    Raises:
        MetricInputError: the training labels are all alike, or no training text has a word.

    Source:
        Gururangan et al. 2018, arXiv:1803.02324; Poliak et al. 2018, arXiv:1805.01042.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    names = _names(names, train_labels, test_labels)
    train_N, test_N = _numbers(train_labels, names), _numbers(test_labels, names)
    most = min(MOST_FEATURES, MOST_WEIGHTS // len(names))
    counter = CountVectorizer(analyzer=_grams, binary=True, max_features=most, dtype=float)
    if not any(train_words):
        raise MetricInputError("no training text has a word: there is nothing to learn from")
    train_NF = counter.fit_transform(train_words)
    return _fitted(
        LogisticRegression(max_iter=100), train_NF, train_N, counter.transform(test_words), test_N, names
    )


def _grams(words: Sequence[str]) -> list[str]:
    return [*words, *(f"{one} {other}" for one, other in pairwise(words))]


def _fitted(
    model: Any, train_NF: Any, train_N: np.ndarray, test_NF: Any, test_N: np.ndarray, names: Sequence[str]
) -> Classified:
    import numpy as np

    if len(set(train_N.tolist())) < 2:
        raise MetricInputError("the training labels are all alike: there is nothing to tell apart")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that it would like more iterations: it has had enough for a baseline
        model.fit(train_NF, train_N)
    probabilities_NC = np.zeros((len(test_N), len(names)))
    probabilities_NC[:, model.classes_] = model.predict_proba(test_NF)  # classes that training lacks keep 0
    return classification_metrics(probabilities_NC, test_N, names)


def overlap_features(premise: str, hypothesis: str) -> list[float]:
    """Return what can be told of a pair by comparing words.

    Shares of the hypothesis' and of the premise's words that the other has, Jaccard overlap, difference of lengths,
    negations in each, and whether only one of them has any.

    >>> overlap_features("A dog isn't here", "A dog is here")
    [1.0, 0.8, 0.8, 1.0, 1.0, 0.0, 1.0]
    """
    first, second = (_WORD.findall(text.lower().replace("\u2019", "'")) for text in (premise, hypothesis))
    one, other = set(first), set(second)
    both = len(one & other)
    negations = [sum(word in NEGATIONS for word in words) for words in (first, second)]
    return [
        both / max(1, len(other)),
        both / max(1, len(one)),
        both / max(1, len(one | other)),
        float(len(first) - len(second)),
        float(negations[0]),
        float(negations[1]),
        float((negations[0] > 0) != (negations[1] > 0)),
    ]


def _names(names: Sequence[str] | None, *labels: Sequence[str]) -> Sequence[str]:
    found = sorted(set().union(*labels))
    if names is None:
        return found
    if unknown := [name for name in found if name not in names]:
        raise MetricInputError(f"labels {', '.join(unknown)}: the classes are {', '.join(names)}")
    return names


def _numbers(labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    import numpy as np

    number = {name: n for n, name in enumerate(names)}
    if not labels:
        raise MetricInputError(f"no labels; the classes are {', '.join(names)}")
    return np.array([number[label] for label in labels])
