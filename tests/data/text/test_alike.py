"""Alike: the first of equal and of similar texts stays, whatever the sizes of blocks and parts."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from raygen.data.text import alike
from raygen.data.text.alike import Alike
from raygen.data.text.fingerprint import Near, fingerprint, signature

NEAR = Near(permutations=64)
WORDS = [f"w{n:03d}x" for n in range(900)]


def found(texts: list[str], near: Near | None, chunk: int = 7) -> dict[int, tuple[int, float]]:
    fingerprints = [fingerprint([text], near) for text in texts]
    with Alike(near) as finder:
        for at in range(0, len(texts), chunk):
            finder.add(pa.array(fingerprints[at : at + chunk], pa.binary()))
        return {
            int(place): (int(of), float(share))
            for block in finder.repeats()
            for place, of, share in zip(*block, strict=True)
        }


def material(rows: int, seed: int) -> list[str]:
    """Texts of 30 words: new ones, copies of earlier ones, and earlier ones with a word changed."""
    luck = random.Random(seed)
    texts: list[str] = []
    while len(texts) < rows:
        kind = luck.random()
        if texts and kind < 0.2:
            texts.append(luck.choice(texts).upper())
        elif texts and kind < 0.5:
            words = luck.choice(texts).lower().split()
            words[luck.randrange(len(words))] = luck.choice(WORDS)
            texts.append(" ".join(words))
        else:
            texts.append(" ".join(luck.choices(WORDS, k=30)))
    return texts


def plain(texts: list[str], near: Near | None) -> dict[int, int]:
    """The rule, said plainly: every row beside every earlier one that stays."""
    signatures = [signature(text.lower(), near) for text in texts] if near else []
    standing: list[int] = []
    first: dict[str, int] = {}
    expected: dict[int, int] = {}
    for place, text in enumerate(texts):
        if text.lower() in first:
            twin = first[text.lower()]
            expected[place] = expected.get(twin, twin)
            continue
        first[text.lower()] = place
        close = [
            each
            for each in standing
            if near and np.mean(signatures[each] == signatures[place]) >= near.similarity
        ]
        if close:
            expected[place] = close[0]
        else:
            standing.append(place)
    return expected


@pytest.mark.parametrize("near", [None, NEAR])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_finds_what_comparing_every_pair_finds(near: Near | None, seed: int) -> None:
    texts = material(400, seed)
    expected = plain(texts, near)
    assert len(expected) > 60
    assert {place: of for place, (of, _) in found(texts, near).items()} == expected


@pytest.mark.parametrize("sizes", [(1, 20), (3, 16), (64, 50)])
def test_blocks_and_parts_change_nothing(sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = material(100, 3)
    whole = found(texts, NEAR, chunk=200)
    monkeypatch.setattr(alike, "BLOCK_ROWS", sizes[0])
    monkeypatch.setattr(alike, "PART_ROWS", sizes[1])
    assert found(texts, NEAR) == whole
    assert found(texts, None) == {p: (o, s) for p, (o, s) in found(texts, None, chunk=1).items()}


def test_the_first_stays_and_a_row_that_goes_drops_no_other() -> None:
    base = " ".join(WORDS[:20])
    steps = [base]
    for n in range(12):  # each is alike to the one before it, the last is not to the first
        words = steps[-1].split()
        words[n] = WORDS[500 + n]
        steps.append(" ".join(words))
    result = found(steps, Near(similarity=0.7))
    stay = [place for place in range(len(steps)) if place not in result]
    assert stay[0] == 0
    assert len(stay) > 1
    assert all(of in stay and of < place for place, (of, _) in result.items())


def test_equal_texts_have_similarity_one_and_others_less() -> None:
    texts = [" ".join(WORDS[:30]), " ".join(WORDS[:30]).upper(), " ".join([*WORDS[:29], "w999x"])]
    result = found(texts, NEAR)
    assert result[1] == (0, 1.0)
    assert result[2][0] == 0
    assert 0.8 <= result[2][1] < 1


def test_an_equal_text_of_a_similar_one_points_at_the_row_that_stays() -> None:
    changed = " ".join([*WORDS[:29], "w999x"])
    result = found([" ".join(WORDS[:30]), changed, changed], NEAR)
    assert result[1] == result[2]
    assert result[2][0] == 0


def test_different_texts_stay() -> None:
    """Questions about other places, sums of other numbers, one letter, one sign."""
    texts = [f"{a} + {b}" for a in range(30) for b in range(30)]
    texts += [f"What is the capital city of the country {word}?" for word in WORDS[:200]]
    texts += [*"abcdefgh", "ab!", "ab?", "ab"]
    assert found(texts, None) == {}
    assert found(texts[:900] + texts[1100:], Near(similarity=0.95)) == {}


def test_none_and_one() -> None:
    with Alike(NEAR) as finder:
        assert list(finder.repeats()) == []
    assert found(["only"], NEAR) == {}


def test_fingerprints_of_other_settings_are_refused() -> None:
    other = fingerprint(["text"], Near(permutations=32))
    with Alike(NEAR) as finder, pytest.raises(ValueError, match="144 bytes each"):
        finder.add(pa.array([other], pa.binary()))


def test_texts_of_one_signature_are_not_taken_for_equal() -> None:
    text = " ".join(WORDS)
    result = found([text, text.replace("w500x", "w5x0x")], Near(permutations=16))
    assert result[1][0] == 0
    assert 0.9 < result[1][1] < 1


def test_digests_are_compared_whole() -> None:
    digests = [b"12345678abcdefgh", b"12345678abcdefgX", b"X2345678abcdefgh", b"12345678abcdefgh"]
    with Alike(None) as finder:
        finder.add(pa.array(digests, pa.binary()))
        assert [block.tolist() for block in next(finder.repeats())] == [[3], [0], [1.0]]
