"""Text rows: what is made of texts, splits that stay, copies that differ."""

from __future__ import annotations

from raygen.train.prepare.text_rows import changed_copy, normalise, split_of
from raygen.train.recipe import Augmentation


def test_texts_are_normalised_however_deep() -> None:
    row = {
        "a": "e\u0301\r\nb\rc\u2028d\x00\x1b[1m\tx",
        "b": [{"c": "\ufb01 \x85"}],
        "n": 3,
        "bytes": b"\x00",
        "none": None,
    }
    assert normalise(row) == {
        "a": "\xe9\nb\nc\nd[1m\tx", "b": [{"c": "\ufb01 \n"}], "n": 3, "bytes": b"\x00", "none": None,
    }  # fmt: skip


def test_splits_have_their_shares_and_stay() -> None:
    found = [split_of(f"row{n}", 0.1, 0.2) for n in range(10_000)]
    assert 0.09 < found.count("validation") / 10_000 < 0.11
    assert 0.19 < found.count("test") / 10_000 < 0.21
    assert found[:8] == ["train", "train", "test", "train", "train", "test", "train", "validation"]
    assert {split_of(f"row{n}", 0, 0) for n in range(100)} == {"train"}


def test_what_is_tested_stays_tested_when_validation_grows() -> None:
    tested = {n for n in range(1000) if split_of(str(n), 0.1, 0.1) == "test"}
    assert tested == {n for n in range(1000) if split_of(str(n), 0.3, 0.1) == "test"}


def copies(text: str, **how: object) -> list[str]:
    settings = Augmentation.model_validate({"copies": 1, "columns": ["text"], **how})
    return [changed_copy({"text": text, "id": "A B"}, f"r{n}", 1, 0, settings)["text"] for n in range(300)]


def test_each_change_changes_what_it_says() -> None:
    text = "one two  three\nfour"
    shorter = copies(text, delete_words=0.3)
    assert 0.6 < sum(len(each.split()) for each in shorter) / 1200 < 0.8
    assert all(set(each.split()) <= set(text.split()) and each.split() for each in shorter)
    assert all(each == each.strip() for each in shorter)
    swapped = copies(text, swap_words=0.5)
    assert all(sorted(each.split()) == sorted(text.split()) for each in swapped)
    assert len(set(swapped)) > 3
    typos = copies(text, typos=0.5)
    assert all([sorted(w) for w in each.split()] == [sorted(w) for w in text.split()] for each in typos)
    assert len(set(typos)) > 10
    assert set(copies("A Word", lower_case=True)) == {"a word"}


def test_white_space_stays_between_the_words_that_stay() -> None:
    assert set(copies(" a\n\nb ", swap_words=0.0001)) == {" a\n\nb "}


def test_a_copy_is_never_empty_and_only_named_columns_change() -> None:
    assert set(copies("word", delete_words=0.99)) == {"word"}
    how = Augmentation(copies=1, columns=("text",), lower_case=True)
    assert changed_copy({"text": 5, "id": "A"}, "r", 1, 0, how) == {"text": 5, "id": "A"}


def test_a_copy_depends_on_id_number_and_seed_alone() -> None:
    how = Augmentation(copies=1, columns=("text",), delete_words=0.5)
    row = {"text": " ".join(map(str, range(40)))}
    assert changed_copy(row, "r", 1, 0, how) == changed_copy(row, "r", 1, 0, how)
    texts = {
        changed_copy(row, *key, how)["text"] for key in (("r", 1, 0), ("s", 1, 0), ("r", 2, 0), ("r", 1, 1))
    }
    assert len(texts) == 4
