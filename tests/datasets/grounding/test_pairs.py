"""Grounding pairs: labels follow from how a statement was made, and no group stands in two splits."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.data.text.sentences import sentences_of
from raygen.datasets.grounding.edits import entailed, negated, number_changed, turned
from raygen.datasets.grounding.pairs import write_grounding
from raygen.datasets.python_docs import write_passages
from raygen.errors import SourceError

DRAWS = random.Random(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grounding")
    write_passages(folder / "passages.parquet")
    write_grounding(folder / "passages.parquet", folder / "pairs")
    return folder


def test_splits_are_balanced_and_share_no_group(folder: Path) -> None:
    groups = {}
    for split in ("train", "validation", "test"):
        rows = pq.read_table(folder / "pairs" / f"{split}.parquet").to_pylist()
        labels = Counter(row["label"] for row in rows)
        assert len(rows) >= 800
        assert set(labels) == {"entailment", "neutral", "contradiction"}
        assert len(set(labels.values())) == 1
        assert (
            len({row["id"] for row in rows})
            == len({(row["premise"], row["hypothesis"]) for row in rows})
            == len(rows)
        )
        groups[split] = {row["group"] for row in rows}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]


def test_only_what_is_entailed_stands_in_the_premise(folder: Path) -> None:
    rows = pq.read_table(folder / "pairs" / "test.parquet").to_pylist()
    inside = Counter((row["label"], row["hypothesis"] in row["premise"]) for row in rows)
    assert inside["neutral", True] == inside["contradiction", True] == 0
    assert inside["entailment", True] >= 100
    assert all(row["hypothesis"] in row["premise"] for row in rows if row["kind"] == "same")


def test_the_same_seed_makes_the_same_pairs(folder: Path) -> None:
    write_grounding(folder / "passages.parquet", folder / "again")
    write_grounding(folder / "passages.parquet", folder / "other", seed=1)
    read = [pq.read_table(folder / name / "test.parquet") for name in ("pairs", "again", "other")]
    assert read[0].equals(read[1])
    assert not read[0].equals(read[2])


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("The list is mutable.", "The list is not mutable."),
        ("The list is not mutable.", "The list is mutable."),
        ("Keys cannot be changed here.", "Keys can be changed here."),
        ("Names can be bound again.", "Names cannot be bound again."),
        ("If it is set, nothing happens.", None),  # a denied condition contradicts nothing
        ("Nothing happens.", None),
    ],
)
def test_a_negation_is_put_in_or_taken_away(text: str, made: str | None) -> None:
    assert negated(text, DRAWS) == made


def test_a_word_is_turned_to_its_opposite_and_a_number_changed() -> None:
    assert turned("The first key wins", DRAWS) == "The last key wins"
    assert turned("Before this, it waits", DRAWS) == "After this, it waits"
    assert turned("It waits", DRAWS) is None
    assert number_changed("It has two parts", DRAWS) not in (None, "It has two parts")
    assert (
        number_changed("It has 3.11 parts and a C3 order", DRAWS) is None
    )  # versions and names are no counts


def test_what_is_left_out_or_reworded_says_no_more() -> None:
    text = "However, the list (a mutable sequence) must be short, which is usual."
    made = {entailed(text, random.Random(n)) for n in range(200)}
    assert "The list (a mutable sequence) has to be short." in made
    assert "However, the list must be short, which is usual." in made
    assert text not in made
    known = {"the", "text", "says", "that", "it", "is", "said", "according", "to", "has"}
    words = {word.strip(".,()").lower() for word in text.split()} | known
    assert all({word.strip(".,()").lower() for word in each.split()} <= words for each in made if each)


def test_sentences_end_where_they_seem_to() -> None:
    text = "It is so, e.g. Here. “Yes!” she said. Version 3.11 is out\n\nA heading\n\nThe end…  (Or not.) Ok"
    assert sentences_of(text) == [
        "It is so, e.g. Here.", "“Yes!” she said.", "Version 3.11 is out", "A heading", "The end…", "(Or not.)", "Ok",
    ]  # fmt: skip


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": ["One sentence has five words."], "topic": ["a"]}), tmp_path / "one.parquet"
    )
    with pytest.raises(SourceError, match="groups fall into the"):
        write_grounding(tmp_path / "one.parquet", tmp_path / "out")
    with pytest.raises(SourceError, match="cannot read columns 'body' and 'topic'"):
        write_grounding(tmp_path / "one.parquet", tmp_path / "out", text="body")
