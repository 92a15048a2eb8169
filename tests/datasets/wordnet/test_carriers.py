from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from raygen.datasets.wordnet.carriers import CARRIERS, EXISTENCE, IDENTITY, UNIVERSAL, carriers_for, label_of

# Five kinds of things that there can be; a noun is the set of those that it names.
NOUNS = {"animal": {0, 1, 2}, "dog": {0, 1}, "poodle": {0}, "cat": {2}, "chair": {3}}
PAIRS = {
    "hypernym": [("dog", "animal"), ("poodle", "animal"), ("poodle", "dog")],
    "hyponym": [("animal", "dog"), ("animal", "poodle"), ("dog", "poodle")],
    "disjoint": [("dog", "cat"), ("poodle", "chair"), ("animal", "chair"), ("cat", "poodle")],
}
World = object
Claim = Callable[[set[int], World], bool]


def worlds(way: str) -> Iterator[World]:
    """Yield every state of affairs that sentences of this way can be about."""
    if way == IDENTITY:
        yield from range(5)  # which the one thing is
    else:  # of which kinds there are some; or, of which kinds something is true of all (there are some of each)
        yield from product((False, True), repeat=5)


CLAIMS: dict[str, Claim] = {
    IDENTITY: lambda noun, world: world in noun,
    EXISTENCE: lambda noun, world: any(world[kind] for kind in noun),  # type: ignore[index]
    UNIVERSAL: lambda noun, world: all(world[kind] for kind in noun),  # type: ignore[index]
}


def found_label(way: str, polarity: str, word: str, other: str) -> str:
    """Go through all worlds: the label by its very definition."""
    claim = CLAIMS[way]
    outcomes = {
        claim(NOUNS[other], world) == (polarity[1] == "+")
        for world in worlds(way)
        if claim(NOUNS[word], world) == (polarity[0] == "+")
    }
    return {(True,): "entailment", (False,): "contradiction"}.get(tuple(outcomes), "neutral")


@pytest.mark.parametrize("way", [IDENTITY, EXISTENCE, UNIVERSAL])
@pytest.mark.parametrize("polarity", ["++", "+-", "-+", "--"])
@pytest.mark.parametrize("relation", list(PAIRS))
def test_labels_hold_in_every_world(way: str, polarity: str, relation: str) -> None:
    labels = {found_label(way, polarity, *pair) for pair in PAIRS[relation]}
    assert labels == {label_of(way, polarity, relation)}


def test_sentences() -> None:
    assert len(CARRIERS) > 60
    assert len({each.name for each in CARRIERS}) == len({each.claim for each in CARRIERS}) == len(CARRIERS)
    for carrier in CARRIERS:
        assert re.fullmatch(r"[A-Z][A-Za-z' ,]*\{[an]\}[a-z ]*\.", carrier.claim), carrier
        assert re.fullmatch(r"[A-Z][A-Za-z' ,]*\{[an]\}[a-z ]*\.", carrier.denial), carrier
        assert re.search(r"\b(not|no|none|nobody|nothing|never)\b", carrier.denial.lower()), carrier
        assert not re.search(r"\b(not|no|none|nobody|nothing|never)\b", carrier.claim.lower()), carrier


def test_sentences_of_a_field() -> None:
    fields = {each.name.partition("-")[0] for each in carriers_for("drink", EXISTENCE)}
    assert fields == {"any", "drink"}
    assert {each.way for each in carriers_for("drink", UNIVERSAL)} == {UNIVERSAL}
