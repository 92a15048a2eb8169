"""Packing: nothing lost, nothing too long, little left empty."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.train.families.packing import alike, blocks_of, pack


@given(st.lists(st.integers(1, 40), max_size=200), st.booleans())
def test_every_example_is_in_one_unit_and_every_block_fits(lengths: list[int], packs: bool) -> None:
    found = list(blocks_of(lengths, packs=packs, most=40, block_cost=100))
    units = [unit for block in found for unit in block]
    assert sorted(i for unit in units for i in unit) == list(range(len(lengths)))
    for block in found:
        totals = [sum(lengths[i] for i in unit) for unit in block]
        assert max(totals) <= 40
        assert len(block) * max(totals) <= 100
    if not packs:
        assert all(len(unit) == 1 for unit in units)


def test_windows_do_not_lose_their_ends() -> None:
    lengths = [10] * 2000  # windows end after every 640 examples
    assert sum(len(block) for block in blocks_of(lengths, packs=False, most=10, block_cost=100)) == 2000


def test_packing_is_best_fit_decreasing() -> None:
    assert pack([3, 7, 5, 5, 2, 8], 10) == [[0, 1], [2, 3], [4, 5]]
    assert pack([6, 6, 4, 3], 10) == [[0, 2], [1, 3]]
    assert pack([], 10) == []


def test_packing_leaves_little_empty() -> None:
    chance = random.Random(0)
    lengths = [chance.randint(20, 300) for _ in range(2000)]
    units = pack(lengths, 512)
    assert sum(lengths) / (512 * len(units)) > 0.98


def test_padding_is_little_where_lengths_vary() -> None:
    chance = random.Random(0)
    lengths = [chance.randint(5, 100) for _ in range(5000)]
    found = list(blocks_of(lengths, packs=False, most=100, block_cost=1000))
    computed = sum(len(block) * max(lengths[i] for unit in block for i in unit) for block in found)
    assert sum(lengths) / computed > 0.93


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="cost 11 does not fit 10"):
        pack([11], 10)
    with pytest.raises(ValueError, match="cost 11 does not fit 10"):
        alike([11], 10)
