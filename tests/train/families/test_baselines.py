"""Baselines of prepared blocks: what of a split is looked at, how pairs come apart, and how little may be enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raygen.metrics.classification import Classified
from raygen.storage import LocalStore
from raygen.train.families import baselines
from raygen.train.families.base import Block
from raygen.train.families.baselines import Texts, drawn, halves, measure_baselines, texts_of
from raygen.train.loop.context import Context
from raygen.train.loop.training import Training
from tests.fakes.tiny_encoders import save_encoder, tiny_encoder
from tests.train.in_memory import InMemory, bert, labelled, table_of, trainer_of

NAMES = ("no", "yes")


def blocks(count: int, units: int, tokens: int = 10) -> list[Block]:
    return [Block(0, n, units, tokens, units) for n in range(count)]


def test_of_a_large_split_whole_blocks_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_EXAMPLES", 100)
    assert sorted(drawn(blocks(9, 10), 3)) == list(range(9))
    numbers = drawn(blocks(1000, 10), 3)
    assert len(set(numbers)) == 10
    assert max(numbers) > 500  # not the first ones: a shard's blocks have a length each
    assert numbers == drawn(blocks(1000, 10), 3)
    monkeypatch.setattr(baselines, "MOST_TOKENS", 45)
    assert len(drawn(blocks(1000, 10), 3)) == 5
    monkeypatch.setattr(baselines, "MOST_SCORES", 40)
    assert len(drawn(blocks(1000, 10), 4)) == 1  # of many classes fewer examples


@pytest.mark.parametrize("kind", ["bert", "roberta"])  # with segments, and without
def test_a_pair_comes_apart_into_its_texts(kind: str, tmp_path: Path) -> None:
    base = save_encoder(tmp_path, tiny_encoder(kind, type_vocab_size=2 if kind == "bert" else 1))
    trainer = trainer_of(labelled(base))
    examples = [trainer.encode("r", {"a": "an ant", "b": "no hat", "label": 2})]
    assert (1 in examples[0].type_ids) == (kind == "bert")
    found = texts_of([table_of([examples])], ("no", "perhaps", "yes"), trainer._tokenizer, paired=True)
    assert found.labels == ["yes"]
    # This tokenizer puts spaces between bytes, and Ġ for a space.
    assert found.pairs == [("a n Ġ a n t", "n o Ġ h a t")]
    assert found.words == [["n", "o", "Ġ", "h", "a", "t"]]
    whole = texts_of([table_of([examples])], ("no", "perhaps", "yes"), trainer._tokenizer, paired=False)
    assert whole.pairs == []
    assert len(whole.words[0]) == len("an ant") + len("no hat")


def test_segments_tell_more_than_separators() -> None:
    assert halves([5, 2, 6, 2, 7, 2], [0, 0, 0, 0, 1, 1], 2) == (
        [5, 2, 6, 2],
        [7, 2],
    )  # one stands in the first text


def test_texts_without_a_separator_are_one() -> None:
    assert halves([5, 6], [], 2) == ([5, 6], [])
    assert halves([5, 6], [], None) == ([5, 6], [])


def test_names_say_what_was_measured() -> None:
    train = Texts(["no", "yes"] * 10, [["not"], ["it"]] * 10, [("it", "not"), ("it", "it")] * 10)
    test = Texts(["no", "yes"], [["not"], ["it"]], [("a", "not"), ("a", "a")])
    found = measure_baselines(train, test, NAMES, 2)
    assert {name: each["metrics"]["accuracy"] for name, each in found.items()} == {
        "majority": 0.5, "second text only": 1, "word overlap": 1,
    }  # fmt: skip
    train.pairs, test.pairs = [], []
    assert list(measure_baselines(train, test, NAMES, 5_000)) == [
        "majority (2 of 5,000)",
        "words only (2 of 5,000)",
    ]


def test_a_baseline_that_cannot_be_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alike = Texts(["no"] * 4, [["a"]] * 4)
    assert list(measure_baselines(alike, alike, NAMES, 4)) == ["majority"]
    assert not caplog.records  # nothing to mend

    def broken(*arguments: Any) -> Classified:
        raise ValueError("nobody foresaw it")

    monkeypatch.setattr(baselines, "majority_baseline", broken)
    assert measure_baselines(alike, alike, NAMES, 4) == {}
    assert "'majority' could not be measured" in caplog.text


def test_a_finished_classifier_stands_beside_baselines(tmp_path: Path) -> None:
    """The second text gives the label away, the commonest label is a third of all."""
    recipe = labelled(bert(tmp_path / "base"), epochs=1, max_steps=1)
    trainer = trainer_of(recipe)
    rows = [{"a": "an ant", "b": "xyz"[n % 3] * (1 + n % 2), "label": n % 3} for n in range(60)]
    data = InMemory(recipe, trainer, train=rows, validation=rows[:6], test=rows[:12])
    read: list[tuple[str, int]] = []
    data.watch = lambda split, number: read.append((split, number))
    finished = Training(recipe, trainer, data.blocks, Context(LocalStore(tmp_path / "run"), data.feed)).run()
    found = {name: each["metrics"]["accuracy"] for name, each in finished["baselines"].items()}
    assert found["majority"] == pytest.approx(1 / 3)
    assert found["second text only"] == 1
    assert found["word overlap"] < 0.5
    assert {split for split, _ in read[-len(data.blocks["test"]) :]} == {"test"}
