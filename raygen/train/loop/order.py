"""Order: the blocks of each optimizer step. A function of the seed and the epoch alone, on any worker."""

from __future__ import annotations

import random
from collections.abc import Sequence

from raygen.train.families.base import Block


def steps_of(blocks: Sequence[Block], seed: int, epoch: int, step_cost: int) -> list[list[int]]:
    """Return an epoch's steps, each the numbers of its blocks; every block is in exactly one.

    A step takes blocks until one more would bring it further from `step_cost` than it is. The last step of an epoch
    takes what is left.
    """
    numbers = list(range(len(blocks)))
    # Seeded by a text, through SHA-512: neighbouring seeds and epochs give unrelated orders.
    random.Random(f"{seed}/{epoch}").shuffle(numbers)
    steps: list[list[int]] = []
    cost = step_cost
    for number in numbers:
        more = blocks[number].cost
        if 2 * cost + more > 2 * step_cost:  # halfway through the block, the step is full
            steps.append([])
            cost = 0
        steps[-1].append(number)
        cost += more
    return steps


def total_steps(
    blocks: Sequence[Block], seed: int, epochs: int, step_cost: int, max_steps: int | None = None
) -> int:
    """Return how many steps a training has; epochs may differ by some."""
    total = 0
    for epoch in range(epochs):
        if max_steps is not None and total >= max_steps:
            break
        total += len(steps_of(blocks, seed, epoch, step_cost))
    return total if max_steps is None else min(total, max_steps)
