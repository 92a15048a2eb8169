"""Arena: which positions of one preallocated arena hold each running sample's keys and values.

Samples live in slots of a few lengths, each twice the one before, so that a short text neither takes nor reads
the space of a long one. The slots of a length lie side by side, without holes: one view is a batch. Plain
Python; the tensors sit behind `Store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from raygen.engines.torch.sample import Sample

SHORTEST = 128  # positions of the shortest slots
STEP = 16  # lengths are multiples of it


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of `step` that is at least `value`."""
    return -(-value // step) * step


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as a store finds it: slot `index` of those that begin at `offset` and have `length` positions each."""

    offset: int
    length: int
    index: int


class Store(Protocol):
    """What keeps the keys and values."""

    def copy(self, source: Slot, target: Slot, positions: int) -> None:
        """Copy the first positions of a slot to another, of any length."""

    def rearrange(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Move all that is kept: (from, to, positions) of each length's slots. They may overlap."""


class Memory:
    """Hands out slots within `positions`, and moves samples so that they stay packed.

    Args:
        positions: of the whole arena; at least `least(context)`.
        context: positions of the longest sample.
        rows: samples at once.
    """

    def __init__(self, positions: int, context: int, rows: int, store: Store) -> None:
        self.positions = positions
        self.lengths = slot_lengths(context)
        self._rows = rows
        self._store = store
        self.members: list[list[Sample]] = [[] for _ in self.lengths]
        self.offsets = [0] * len(self.lengths)
        self._capacities = [0] * len(self.lengths)

    @property
    def used(self) -> int:
        """Positions of the slots that samples hold."""
        return sum(len(members) * length for members, length in zip(self.members, self.lengths, strict=True))

    def cost(self, positions: int) -> int:
        """Positions of the slot that a sample of so many needs."""
        return self.lengths[self._kind(positions)]

    def slot(self, sample: Sample) -> Slot:
        assert sample.place is not None
        return self._slot(*sample.place)

    def add(self, sample: Sample, positions: int) -> bool:
        """Give a sample a slot for so many positions. False: there is no room."""
        kind = self._kind(positions)
        if not self._make_room(kind):
            return False
        sample.place = kind, len(self.members[kind])
        self.members[kind].append(sample)
        return True

    def grow(self, sample: Sample, positions: int) -> bool:
        """Move a sample to a longer slot if its own is too short. False: there is no room."""
        assert sample.place is not None
        if positions <= self.lengths[sample.place[0]]:
            return True
        kind = self._kind(positions)
        if not self._make_room(kind):
            return False
        source = self.slot(sample)
        target = self._slot(kind, len(self.members[kind]))
        self._store.copy(source, target, sample.computed)
        self.remove(sample)
        sample.place = kind, target.index
        self.members[kind].append(sample)
        return True

    def remove(self, sample: Sample) -> None:
        """Take a sample's slot back; the last one of its length fills the hole."""
        assert sample.place is not None
        kind, index = sample.place
        members = self.members[kind]
        last = members.pop()
        if last is not sample:
            self._store.copy(self._slot(kind, len(members)), self._slot(kind, index), last.computed)
            members[index] = last
            last.place = kind, index
        sample.place = None

    def _kind(self, positions: int) -> int:
        return next(kind for kind, length in enumerate(self.lengths) if positions <= length)

    def _slot(self, kind: int, index: int) -> Slot:
        return Slot(self.offsets[kind], self.lengths[kind], index)

    def _make_room(self, kind: int) -> bool:
        if len(self.members[kind]) < self._capacities[kind]:
            return True
        needed = [len(members) for members in self.members]
        needed[kind] += 1
        left = self.positions - sum(n * length for n, length in zip(needed, self.lengths, strict=True))
        if left < 0:
            return False
        self._arrange(self._shares(needed, left))
        return True

    def _shares(self, needed: list[int], left: int) -> list[int]:
        """Slots of each length: as many as there are rows while memory is ample, else about twice what is needed now."""
        for most in (self._rows, 0):
            wanted = [max(min(max(2 * n + 4, most), self._rows) - n, 0) if n else 0 for n in needed]
            cost = sum(n * length for n, length in zip(wanted, self.lengths, strict=True))
            if cost <= left // 2:
                break
        part = min(1.0, left / cost) if cost else 1.0
        return [n + int(part * more) for n, more in zip(needed, wanted, strict=True)]

    def _arrange(self, capacities: list[int]) -> None:
        offsets, end = [], 0
        for capacity, length in zip(capacities, self.lengths, strict=True):
            offsets.append(end)
            end += capacity * length
        self._store.rearrange(
            [
                (old, new, len(members) * length)
                for old, new, members, length in zip(
                    self.offsets, offsets, self.members, self.lengths, strict=True
                )
                if members and old != new
            ]
        )
        self.offsets, self._capacities = offsets, capacities


def slot_lengths(context: int) -> list[int]:
    """Return the lengths that slots may have, up to a whole context."""
    lengths = []
    length = SHORTEST
    while length < context:
        lengths.append(length)
        length *= 2
    return [*lengths, round_up(context, STEP)]


def least(context: int) -> int:
    """Positions of the smallest arena: for one sample of the whole context, and the slot it moves there from."""
    return sum(slot_lengths(context)[-2:])
