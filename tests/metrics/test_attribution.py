"""Attribution on tiny random classifiers: the words' scores add up, and they are the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raygen.errors import EngineError, MetricInputError
from raygen.metrics.attribution import (
    TOLERANCE,
    Attribution,
    Pair,
    attribute,
    attribute_pairs,
    largest_of,
    level,
    spans,
)
from tests.fakes.tiny_encoders import save_encoder, tiny_encoder, tiny_encoder_tokenizer

LABELS = ("entailment", "neutral", "contradiction")
PREMISE, HYPOTHESIS = "A cat sat,  in vain.", " It's so "


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = save_encoder(tmp_path_factory.mktemp(kind), tiny_encoder(kind, LABELS))
        return made[kind]

    return of


def probabilities(folder: Path, premise: str, hypothesis: str, hidden: bool) -> dict[str, float]:
    """What plain transformers computes, for the pair or for as many unknown words."""
    import torch
    from transformers import AutoModelForSequenceClassification

    tokenizer = tiny_encoder_tokenizer()
    inputs = tokenizer(premise, hypothesis, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    if hidden:
        ids = inputs["input_ids"]
        kept = (ids == tokenizer.cls_token_id) | (ids == tokenizer.sep_token_id)
        inputs["input_ids"] = torch.where(kept, ids, tokenizer.unk_token_id)
    with torch.no_grad():
        return dict(zip(LABELS, model(**inputs).logits[0].softmax(-1).tolist(), strict=True))


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "modernbert"])
def test_scores_add_up_to_what_the_words_change(folder: Callable[[str], Path], kind: str) -> None:
    found = attribute(folder(kind), PREMISE, HYPOTHESIS, "neutral")
    reached = probabilities(folder(kind), PREMISE, HYPOTHESIS, False)["neutral"]
    begun = probabilities(folder(kind), PREMISE, HYPOTHESIS, True)["neutral"]
    assert found.probability == pytest.approx(reached, abs=1e-4)
    assert found.baseline == pytest.approx(begun, abs=1e-4)
    total = sum(word.score for word in found.words)
    assert total == pytest.approx(reached - begun, abs=TOLERANCE)
    assert total == pytest.approx(found.probability - found.baseline + found.delta, abs=1e-6)
    assert abs(found.delta) <= TOLERANCE


def test_the_same_pair_gets_the_same_numbers_in_any_company(folder: Callable[[str], Path]) -> None:
    alone = attribute(folder("bert"), PREMISE, HYPOTHESIS, "neutral")
    others = [Pair(["x"], "y", "entailment"), Pair([PREMISE], HYPOTHESIS, "neutral")]
    assert attribute_pairs(folder("bert"), others)[1] == alone


def test_words_are_whole_and_special_tokens_are_left_out(folder: Callable[[str], Path]) -> None:
    found = attribute(folder("bert"), PREMISE, HYPOTHESIS, "neutral")  # its tokens are bytes
    words = [(word.text, word.part) for word in found.words]
    assert [text for text, part in words if part == "premise"] == ["A", "cat", "sat", ",", "in", "vain", "."]
    assert [text for text, part in words if part == "hypothesis"] == ["It", "'s", "so"]
    for word in found.words:
        text = PREMISE if word.part == "premise" else HYPOTHESIS
        assert text[word.start : word.end] == word.text
    assert len({word.score for word in found.words}) == len(found.words)


def test_drawing_keeps_every_character(folder: Callable[[str], Path]) -> None:
    found = attribute(folder("bert"), PREMISE, HYPOTHESIS, "neutral")
    for part, text in (("premise", PREMISE), ("hypothesis", HYPOTHESIS)):
        drawn = spans(found, part)
        assert "".join(each for each, _ in drawn) == text
        scored = [(each, score) for each, score in drawn if score is not None]
        assert scored == [(word.text, word.score) for word in found.words if word.part == part]


def test_of_several_premises_the_one_that_counts_is_shown(folder: Callable[[str], Path]) -> None:
    premises = ["Rain falls.", PREMISE, "Snow falls. Rain falls."]
    chances = [probabilities(folder("bert"), each, HYPOTHESIS, False)["neutral"] for each in premises]
    [found] = attribute_pairs(folder("bert"), [Pair(premises, HYPOTHESIS, "neutral")])
    assert found.premise == premises[chances.index(max(chances))]


def test_a_longer_pair_is_cut_as_the_engine_cuts_it(folder: Callable[[str], Path]) -> None:
    found = attribute(folder("bert"), "a" * 300, "so", "neutral", max_tokens=32)
    assert [(len(word.text), word.part) for word in found.words] == [(27, "premise"), (2, "hypothesis")]
    assert "".join(text for text, _ in spans(found, "premise")) == "a" * 300


def test_what_cannot_be_is_refused(folder: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(
        MetricInputError, match="no label 'maybe'; labels: entailment, neutral, contradiction"
    ):
        attribute(folder("bert"), "a", "b", "maybe")
    with pytest.raises(EngineError, match="cannot load"):
        attribute(tmp_path, "a", "b", "neutral")


@pytest.mark.parametrize(
    ("score", "strength"),
    [(None, 0), (0.0, 0), (0.05, 0), (0.1, 1), (0.4, 2), (0.7, 3), (1.0, 3), (-0.2, -1), (-1.0, -3)],
)
def test_levels_of_drawing(score: float | None, strength: int) -> None:
    assert level(score, 1.0) == strength
    assert level(score, 0.0) == 0


def test_the_largest_score_is_without_its_sign() -> None:
    nothing = Attribution("", "", "x", [], 0.5, 0.5, 0.0, 32)
    assert largest_of(nothing) == 0.0
    assert spans(nothing, "premise") == []
