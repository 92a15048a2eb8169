"""Order: the blocks of each optimizer step. A function of the seed and the epoch alone, whoever computes it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from raygen.train.families.base import Block


def steps_of(blocks: Sequence[Block], seed: int, epoch: int, batch_tokens: int) -> list[list[int]]:
    """Return an epoch's steps, each the numbers of its blocks; every block is in exactly one.

    A step takes blocks until one more would bring it further from `batch_tokens` than it is. The last step of an epoch
    takes what is left.
    """
    numbers = list(range(len(blocks)))
    # Seeded by a text, through SHA-512: neighbouring seeds and epochs give unrelated orders.
    random.Random(f"{seed}/{epoch}").shuffle(numbers)
    steps: list[list[int]] = []
    tokens = batch_tokens
    for number in numbers:
        more = blocks[number].tokens
        if 2 * tokens + more > 2 * batch_tokens:  # halfway through the block, the step is full
            steps.append([])
            tokens = 0
        steps[-1].append(number)
        tokens += more
    return steps


def total_steps(
    blocks: Sequence[Block], seed: int, epochs: int, batch_tokens: int, max_steps: int | None = None
) -> int:
    """Return how many steps a training has; epochs may differ by some."""
    total = 0
    for epoch in range(epochs):
        if max_steps is not None and total >= max_steps:
            break
        total += len(steps_of(blocks, seed, epoch, batch_tokens))
    return total if max_steps is None else min(total, max_steps)
