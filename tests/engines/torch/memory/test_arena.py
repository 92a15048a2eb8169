"""Slots: packed, within the arena, and never two samples at one place, whatever comes and goes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from raygen.config.sampling import Sampling
from raygen.engines.torch.memory.arena import Memory, Slot, least, slot_lengths
from raygen.engines.torch.sample import Sample
from raygen.engines.torch.stopping import StopRule


class Twin:
    """A store in a list: position -> what a sample wrote there."""

    def __init__(self, positions: int) -> None:
        self.cells: list[tuple[int, int] | None] = [None] * positions

    def write(self, slot: Slot, position: int, value: tuple[int, int]) -> None:
        assert position < slot.length
        self.cells[slot.offset + slot.index * slot.length + position] = value

    def read(self, slot: Slot, positions: int) -> list[tuple[int, int] | None]:
        begin = slot.offset + slot.index * slot.length
        return self.cells[begin : begin + positions]

    def copy(self, source: Slot, target: Slot, positions: int) -> None:
        for position, value in enumerate(self.read(source, positions)):
            assert value is not None
            self.write(target, position, value)

    def rearrange(self, moves: Sequence[tuple[int, int, int]]) -> None:
        kept = [self.cells[old : old + count] for old, _, count in moves]
        for (_, new, count), values in zip(moves, kept, strict=True):
            assert new + count <= len(self.cells)
            self.cells[new : new + count] = values


def sample(prompt: int = 4) -> Sample:
    return Sample([0] * prompt, Sampling(), 0, StopRule((), (), 1000, str))


def test_slots_double_up_to_the_context():
    assert slot_lengths(100) == [112]
    assert slot_lengths(128) == [128]
    assert slot_lengths(1000) == [128, 256, 512, 1008]
    assert least(1000) == 1520


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_overwritten_and_slots_stay_packed(seed: int):
    chance = random.Random(seed)
    positions = least(1000) + chance.choice([0, 500, 4000])
    store = Twin(positions)
    memory = Memory(positions, 1000, chance.choice([3, 16]), store)
    living: dict[int, Sample] = {}
    refused = 0
    for number in range(400):
        move = chance.random()
        if move < 0.4:
            new = sample()
            if memory.add(new, chance.choice([1, 100, 130, 300])):
                living[number] = new
            else:
                refused += 1
        elif living:
            name = chance.choice(list(living))
            chosen = living[name]
            if move < 0.6:
                memory.remove(living.pop(name))
            else:  # it writes on, as far as it can
                for _ in range(chance.choice([1, 50, 200])):
                    if chosen.computed == 1000 or not memory.grow(chosen, chosen.computed + 1):
                        refused += 1
                        break
                    store.write(memory.slot(chosen), chosen.computed, (name, chosen.computed))
                    chosen.computed += 1
        for name, each in living.items():
            assert store.read(memory.slot(each), each.computed) == [(name, i) for i in range(each.computed)]
        for kind, members in enumerate(memory.members):
            assert [each.place for each in members] == [(kind, i) for i in range(len(members))]
        assert memory.used <= positions
    assert refused
    assert sum(map(len, memory.members)) == len(living)


def test_the_smallest_arena_holds_one_sample_to_the_end():
    memory = Memory(least(1000), 1000, 8, Twin(least(1000)))
    one = sample()
    assert memory.add(one, 1)
    for positions in range(1, 1001):
        assert memory.grow(one, positions)
        one.computed = 0  # nothing to copy
    assert not memory.add(sample(), 600)
