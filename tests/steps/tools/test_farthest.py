"""Farthest first: each next thing is farthest from all that were chosen."""

from __future__ import annotations

import pytest

from raygen.steps.tools.farthest import farthest_first, grams_of, jaccard_distance


def test_each_is_farthest_from_all_that_were_chosen() -> None:
    places = [0, 1, 10, 4, 6]
    found = farthest_first(5, 4, lambda n: [abs(place - places[n]) for place in places])
    assert found == [(0, None), (2, 10), (3, 4), (4, 2)]
    assert farthest_first(0, 3, lambda n: []) == []
    assert farthest_first(3, 2, lambda n: [0, 0, 0]) == [(0, None), (1, 0)]


def test_n_grams_and_their_distance() -> None:
    assert grams_of("ABCDE") == {"abcd", "bcde"}
    assert grams_of("ab") == {"ab"}
    assert grams_of("a\n  b") == {"a b"}
    assert jaccard_distance(grams_of("abcde"), grams_of("bcdef")) == pytest.approx(2 / 3)
    assert jaccard_distance(grams_of("x"), grams_of("x")) == 0
