from __future__ import annotations

import pytest

from raygen.errors import MetricInputError
from raygen.metrics.baselines import (
    majority_baseline,
    overlap_baseline,
    overlap_features,
    words_baseline,
)


def test_majority_says_the_commonest_training_label() -> None:
    found = majority_baseline(["a", "b", "b", "c"], ["a", "b", "b", "b"])
    assert found.metrics["accuracy"] == 0.75
    assert found.details["confusion"] == [[0, 1, 0], [0, 3, 0], [0, 0, 0]]
    assert found.metrics["ece"] == pytest.approx(0.25)  # sure by one half, right in three quarters
    assert majority_baseline(["b", "a"], ["a"]).metrics["accuracy"] == 1  # of several, the first in order
    assert majority_baseline(["b", "a"], ["a"], ["b", "a"]).metrics["accuracy"] == 0


@pytest.mark.parametrize(
    ("premise", "hypothesis", "features"),
    [
        ("A dog is here", "a dog is here.", [1, 1, 1, 0, 0, 0, 0]),
        ("A dog is not here", "There is nothing", [1 / 3, 0.2, 1 / 7, 2, 1, 1, 0]),
        ("Dogs run", "Dogs don\u2019t run", [0.5, 1, 0.5, -2, 0, 1, 1]),  # dogs, do, n't, run
        ("", "", [0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_features(premise: str, hypothesis: str, features: list[float]) -> None:
    assert overlap_features(premise, hypothesis) == pytest.approx(features)


def test_overlap_learns_a_negation_cue_and_nothing_of_meaning() -> None:
    words = [f"thing{n}" for n in range(40)]
    plain = [(f"It is a {w}", f"It is a {w}") for w in words]
    negated = [(f"It is a {w}", f"It is not a {w}") for w in words]
    labels = ["yes"] * 40 + ["no"] * 40
    assert overlap_baseline(plain + negated, labels, plain + negated, labels).metrics["macro_f1"] == 1
    kinds = [("A dog runs", "A poodle runs"), ("A dog runs", "A pet runs")] * 40
    meaning = ["no", "yes"] * 40
    assert overlap_baseline(kinds, meaning, kinds, meaning).metrics["accuracy"] == 0.5


def test_a_label_that_training_lacks_is_measured_as_missed() -> None:
    pairs = [("a b", "a b"), ("a b", "c d")]
    found = overlap_baseline(pairs, ["x", "z"], [("a b", "a b"), ("c d", "e f")], ["y", "z"])
    assert found.details["labels"] == ["x", "y", "z"]
    assert found.details["confusion"] == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_words_and_their_neighbours_are_learnt_and_their_places_are_not() -> None:
    texts = [["is", "no", f"thing{n}"] for n in range(20)] + [["is", "a", f"thing{n}"] for n in range(20)]
    labels = ["no"] * 20 + ["yes"] * 20
    fresh = [["no", "such", "word"], ["a", "word"], ["word", "a"]]
    found = words_baseline(texts, labels, fresh, ["no", "yes", "yes"])
    assert found.metrics["accuracy"] == 1
    order = [["red", "green"], ["green", "red"]] * 20  # the same words: only twos tell
    assert words_baseline(order, ["a", "b"] * 20, order[:2], ["a", "b"]).metrics["macro_f1"] == 1
    far = [["red", "then", "green"], ["green", "then", "red"]]
    assert words_baseline(order, ["a", "b"] * 20, far, ["a", "b"]).metrics["accuracy"] == 0.5
    with pytest.raises(MetricInputError, match="no training text has a word"):
        words_baseline([[], []], ["a", "b"], [["x"]], ["a"])


def test_wrong_labels_are_named() -> None:
    with pytest.raises(MetricInputError, match="labels c: the classes are a, b"):
        majority_baseline(["a", "c"], ["b"], ["a", "b"])
    with pytest.raises(MetricInputError, match="no labels"):
        majority_baseline(["a", "b"], [])
    with pytest.raises(MetricInputError, match="all alike"):
        overlap_baseline([("a", "a")], ["x"], [("a", "a")], ["y"])
