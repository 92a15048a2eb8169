"""Packing: which examples share a sequence, and which sequences a micro-batch. Plain Python, on lengths alone."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

WINDOW = 64  # micro-batches whose examples are looked at together: the more, the less padding

Unit = list[int]  # positions of its examples


def blocks_of(
    lengths: Sequence[int], *, packs: bool, max_tokens: int, micro_tokens: int
) -> Iterator[list[Unit]]:
    """Yield blocks of units, window by window; every example is in exactly one unit.

    A block's units times the tokens of its longest are at most `micro_tokens`.

    Args:
        lengths: tokens of each example, at most `max_tokens`.
        packs: fill sequences of `max_tokens` with several examples; else each is a unit by itself.
    """
    for start, stop in _windows(lengths, WINDOW * micro_tokens):
        window = lengths[start:stop]
        units = pack(window, max_tokens) if packs else [[i] for i in range(len(window))]
        totals = [sum(window[i] for i in unit) for unit in units]
        for block in alike(totals, micro_tokens):
            yield [[start + i for i in units[unit]] for unit in block]


def pack(lengths: Sequence[int], limit: int) -> list[Unit]:
    """Put lengths into bins of `limit`: the longest first, each into the fullest bin that takes it (best fit decreasing).

    Bins come in the order of their first members, and members in their own order, so that length alone decides who is
    together, not where they stand.
    """
    units: list[Unit] = []
    room: list[tuple[int, int]] = []  # (what is free, number of the bin), sorted
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if lengths[i] > limit:
            raise ValueError(f"an example of {lengths[i]} tokens does not fit {limit}")
        at = bisect_left(room, (lengths[i], 0))
        if at == len(room):
            free, number = limit, len(units)
            units.append([])
        else:
            free, number = room.pop(at)
        units[number].append(i)
        if free > lengths[i]:
            insort(room, (free - lengths[i], number))
    return sorted(sorted(unit) for unit in units)


def alike(lengths: Sequence[int], micro_tokens: int) -> list[list[int]]:
    """Put units of like length together, as many as `micro_tokens` takes when all are padded to the longest."""
    blocks: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if lengths[i] > micro_tokens:
            raise ValueError(f"a unit of {lengths[i]} tokens does not fit {micro_tokens}")
        if not blocks or (len(blocks[-1]) + 1) * lengths[i] > micro_tokens:
            blocks.append([])
        blocks[-1].append(i)
    return blocks


def _windows(lengths: Sequence[int], tokens: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of stretches of about `tokens` tokens."""
    start, seen = 0, 0
    for i, length in enumerate(lengths):
        seen += length
        if seen >= tokens:
            yield start, i + 1
            start, seen = i + 1, 0
    if start < len(lengths):
        yield start, len(lengths)
