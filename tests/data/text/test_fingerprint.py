"""Fingerprints: equal for what says the same, and signatures that tell how alike two texts are."""

from __future__ import annotations

import random

import pytest

from raygen.data.text.fingerprint import Near, band_rows, fingerprint, normalised, signature

NEAR = Near()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A rainy  day", "a RAINY day\n"),
        ("caf\u00e9", "cafe\u0301"),
        ("STRASSE", "stra\u00dfe"),
        ("a\u00a0b\tc", "a b c"),
    ],
)
def test_case_white_space_and_spelling_of_characters_make_no_other_text(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert fingerprint([one], None) == fingerprint([other], None)
    assert fingerprint([one], NEAR) == fingerprint([other], NEAR)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3-2", "3+2"),
        ("x2", "x\u00b2"),
        ("a b", "ab"),
        ("yes", "yes!"),
        ("\ud800", "\ud801"),
        ("1/2", "\u00bd"),
    ],
)
def test_texts_that_say_different_things_differ(one: str, other: str) -> None:
    assert fingerprint([one], None) != fingerprint([other], None)


def test_several_texts_are_one_only_if_each_of_them_is() -> None:
    assert fingerprint(["a b", "c"], None) != fingerprint(["a", "b c"], None)
    assert fingerprint(["a", "b"], None) != fingerprint(["b", "a"], None)
    assert fingerprint(["A", "B "], None) == fingerprint(["a", "b"], None)


def test_nothing_has_no_fingerprint() -> None:
    assert fingerprint(["  ", "\n"], NEAR) is None
    assert fingerprint([], None) is None


def test_the_bytes_are_those_that_runs_keep() -> None:
    """Runs that are retried compare new fingerprints with old ones: these bytes never change."""
    data = fingerprint(["A rainy day in Paris"], NEAR)
    assert data is not None
    assert len(data) == 16 + 2 * 128
    assert data[:16].hex() == "508bc420384c855f3e1a5e8e238c64c4"
    assert data[16:32].hex() == "476c94d2396ccfbf16e7fc292c7600f6"


def similarity(one: str, other: str, near: Near) -> float:
    return float((signature(one, near) == signature(other, near)).mean())


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 0.95])
def test_signatures_agree_as_often_as_the_texts_are_alike(share: float) -> None:
    """Sets of known Jaccard similarity: runs of one character are the characters themselves."""
    near = Near(ngram=1, permutations=1024)
    luck = random.Random(3)
    characters = [chr(n) for n in luck.sample(range(0x4E00, 0x9FFF), 8000)]
    union = 6000
    both = round(share * union)
    one = "".join(characters[: both + (union - both) // 2])
    other = "".join([*characters[:both], *characters[both + (union - both) // 2 : union]])
    assert similarity(one, other, near) == pytest.approx(share, abs=0.05)


def test_a_text_of_more_runs_than_are_hashed_at_once_has_the_signature_of_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = Near(ngram=2, permutations=64)
    luck = random.Random(4)
    text = "".join(chr(luck.randrange(0x4E00, 0x9FFF)) for _ in range(10_000))
    in_parts = signature(text, near)
    monkeypatch.setattr("raygen.data.text.fingerprint.BATCH", 100_000)
    assert (signature(text, near) == in_parts).all()
    assert similarity(text, text[5000:] + text[:5001], near) > 0.95
    assert similarity(text, text[:1000], near) < 0.4
    assert similarity(text, text[-1000:], near) < 0.4


def test_a_text_shorter_than_a_run_is_alike_to_none_but_itself() -> None:
    assert similarity("abc", "abd", NEAR) == 0
    assert similarity("abc", "abc", NEAR) == 1


def test_bands_find_the_pairs_that_are_asked_for() -> None:
    for asked in (0.5, 0.7, 0.8, 0.9, 1.0):
        for permutations in (16, 64, 128, 256):
            rows = band_rows(asked, permutations)
            bands = permutations // rows
            assert 1 - (1 - asked**rows) ** bands >= 0.9
    assert band_rows(0.8, 128) == 8
