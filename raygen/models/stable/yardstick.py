"""Yardstick: which numbers of rows a machine computes alike, and how any number of rows is cut into such. Plain Python.

A library takes one kernel for few rows, another for many, and each adds up in its own order. Numbers of rows whose kernels
give a row the same bits form a class. The class that computes the usual numbers of rows at the least cost is the yardstick:
all rows are computed as it does, fewer filled up, more cut into pieces.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence

STEP = 16  # numbers of rows are multiples of it
MOST = 512  # rows of a piece: with more, a product is no faster
FIRST = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # tried before the yardstick is chosen
PIECE_COST = 64  # of one more piece, in rows: a product of few rows mostly waits for the weights

Fact = tuple[str, int, str]


class Yardstick:
    """Chosen from the trials of `first`, so that every process on a machine chooses the same; other numbers are tried when met.

    Args:
        bits: tries a number of rows; returns what tells its kernel from others, or "" if its rows differ among each other.
        first: numbers of rows to try at once.
        sizes: of pieces that may be taken, ascending. any_size: the number of rows itself may be a piece, too.
    """

    def __init__(
        self,
        bits: Callable[[int], str],
        first: Sequence[int] = FIRST,
        sizes: Sequence[int] = tuple(range(STEP, MOST + 1, STEP)),
        any_size: bool = False,
    ) -> None:
        self._bits = bits
        self._any_size = any_size
        self._sizes = sizes
        self._known = {rows: bits(rows) for rows in first}
        classes = dict.fromkeys(found for found in self._known.values() if found)
        members = {own: [rows for rows in first if self._known[rows] == own] for own in classes}
        costs = {own: sum(_cost(best(rows, sizes)) for rows in first) for own, sizes in members.items()}
        # Equal costs: the class of the fewest rows. None that agrees even with itself: one row at a time.
        self.bits = min(costs, key=lambda own: (costs[own], members[own]), default="")
        self.least = min(members.get(self.bits, (1,)))
        self._plans: dict[int, list[int]] = {}

    def pieces(self, rows: int) -> list[int]:
        """Return the sizes of pieces, largest first, that hold so many rows; filled up where they hold more."""
        if rows not in self._plans:
            self._plans[rows] = self._plan(rows)
        return self._plans[rows]

    def _plan(self, rows: int) -> list[int]:
        if not self.bits:
            return [1] * rows
        allowed = [*self._sizes, rows] if self._any_size and 0 < rows <= MOST else self._sizes
        while True:
            sizes = [size for size in allowed if self._known.get(size, self.bits) == self.bits]
            plan = best(rows, sizes)
            untried = [size for size in plan if size not in self._known]
            if not untried:
                return plan
            for size in dict.fromkeys(untried):
                self._known[size] = self._bits(size)


def words_of(layers: Sequence[Fact], attention: Sequence[Fact] = ()) -> str | None:
    """Return for the lineage how a model's rows are computed; None: without yardsticks. Where it differs, bits may differ.

    Args:
        layers, attention: what is computed, the fewest rows or the keys of a block, and the bits of that, of each yardstick.
    """
    if not layers:
        return None
    rows, keys = ("/".join(map(str, sorted({fact[1] for fact in facts}))) for facts in (layers, attention))
    bits = hashlib.sha256(json.dumps([*layers, *attention]).encode()).hexdigest()[:12]
    return f"{rows} rows, {keys + ' keys, ' if keys else ''}bits {bits}"


def best(rows: int, sizes: Iterable[int]) -> list[int]:
    """Return the pieces of these sizes that hold so many rows at the least cost, largest first."""
    sizes = sorted(set(sizes), reverse=True)
    whole = max(0, rows // sizes[0] - 1)  # far from the end the largest are best
    unit = math.gcd(*sizes)
    left = -(-(rows - whole * sizes[0]) // unit)
    steps = [(size // unit, PIECE_COST + size) for size in sizes]
    costs, choices = [0], [0]
    for held in range(1, left + 1):
        cost, step = min((cost + costs[max(held - step, 0)], -step) for step, cost in steps)
        costs.append(cost)
        choices.append(-step)
    pieces = [sizes[0]] * whole
    while left > 0:
        pieces.append(choices[left] * unit)
        left -= choices[left]
    return sorted(pieces, reverse=True)


def _cost(pieces: Sequence[int]) -> int:
    return PIECE_COST * len(pieces) + sum(pieces)
