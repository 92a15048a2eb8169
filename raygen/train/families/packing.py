"""Packing: which examples share a unit, and which units a block. Plain Python, on costs alone (of a text: its tokens)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

WINDOW = 64  # blocks whose examples are looked at together: the more, the less padding

Unit = list[int]  # positions of its examples


def blocks_of(costs: Sequence[int], *, packs: bool, most: int, block_cost: int) -> Iterator[list[Unit]]:
    """Yield blocks of units, window by window; every example is in exactly one unit.

    A block's units times the cost of its dearest are at most `block_cost`: units are padded to the longest of their block.

    Args:
        costs: of each example, at most `most`.
        packs: whether to fill units of `most` with several examples; else each is a unit by itself.
    """
    for start, stop in _windows(costs, WINDOW * block_cost):
        window = costs[start:stop]
        units = pack(window, most) if packs else [[i] for i in range(len(window))]
        totals = [sum(window[i] for i in unit) for unit in units]
        for block in alike(totals, block_cost):
            yield [[start + i for i in units[unit]] for unit in block]


def pack(costs: Sequence[int], limit: int) -> list[Unit]:
    """Put costs into bins of `limit`: the dearest first, each into the fullest bin that takes it (best fit decreasing).

    Bins come in the order of their first members, and members in their own order, so that cost alone decides who is
    together, not where they stand.
    """
    units: list[Unit] = []
    room: list[tuple[int, int]] = []  # (what is free, number of the bin), sorted
    for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        if costs[i] > limit:
            raise ValueError(f"an example of cost {costs[i]} does not fit {limit}")
        at = bisect_left(room, (costs[i], 0))
        if at == len(room):
            free, number = limit, len(units)
            units.append([])
        else:
            free, number = room.pop(at)
        units[number].append(i)
        if free > costs[i]:
            insort(room, (free - costs[i], number))
    return sorted(sorted(unit) for unit in units)


def alike(costs: Sequence[int], block_cost: int) -> list[list[int]]:
    """Put units of like cost together, as many as `block_cost` takes when all are padded to the dearest."""
    blocks: list[list[int]] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], i)):
        if costs[i] > block_cost:
            raise ValueError(f"a unit of cost {costs[i]} does not fit {block_cost}")
        if not blocks or (len(blocks[-1]) + 1) * costs[i] > block_cost:
            blocks.append([])
        blocks[-1].append(i)
    return blocks


def _windows(costs: Sequence[int], amount: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of stretches of about this cost."""
    start, seen = 0, 0
    for i, cost in enumerate(costs):
        seen += cost
        if seen >= amount:
            yield start, i + 1
            start, seen = i + 1, 0
    if start < len(costs):
        yield start, len(costs)
