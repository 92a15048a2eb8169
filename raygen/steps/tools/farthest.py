"""Farthest first: a few things of many that are far from each other; each next one is farthest from all chosen so far.

How far texts are from each other: by their characters (Jaccard), or by their vectors (1 less the cosine).
"""

# Shape letters: N = texts, D = width.

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

GRAM = 4  # characters
LONGEST = 20_000  # characters of a text that are compared, from the beginning


def farthest_first(
    things: int, count: int, distances_to: Callable[[int], Sequence[float]]
) -> list[tuple[int, float | None]]:
    """Return numbers of `count` things at most, the first one first, each with its distance from the nearest before it.

    Args:
        distances_to: of a thing's number: how far every thing is from it. Of equal distances the lower number is chosen.

    Source:
        Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5: the least distance is at least half of what is possible.
    """
    if not things:
        return []
    found: list[tuple[int, float | None]] = [(0, None)]
    nearest = list(distances_to(0))
    left = list(range(1, things))
    while left and len(found) < count:
        number = max(left, key=lambda n: nearest[n])  # the first of equals
        left.remove(number)
        found.append((number, nearest[number]))
        nearest = [min(pair) for pair in zip(nearest, distances_to(number), strict=True)]
    return found


def farthest_texts(texts: Sequence[str], count: int) -> list[tuple[int, float | None]]:
    """Return `farthest_first` of texts, by the Jaccard distance of their character n-grams: 0 to 1."""
    grams = [grams_of(text) for text in texts]

    def distances_to(number: int) -> list[float]:
        return [jaccard_distance(grams[number], other) for other in grams]

    return farthest_first(len(texts), count, distances_to)


def grams_of(text: str) -> frozenset[str]:
    """Return a text's runs of GRAM characters, without regard to case and to how much white space there is."""
    line = " ".join(text[:LONGEST].casefold().split())
    return frozenset(line[start : start + GRAM] for start in range(max(1, len(line) - GRAM + 1)))


def jaccard_distance(one: frozenset[str], other: frozenset[str]) -> float:
    """Return 1 less the share of what two sets have in common; 0 of equals."""
    common = len(one & other)
    whole = len(one) + len(other) - common
    return 1 - common / whole if whole else 0.0


def unit_rows(vectors_ND: np.ndarray) -> np.ndarray:
    """Return the rows with length 1, float64; row by row, so that none depends on the others. Zeros stay zeros."""
    unit_ND = np.zeros(vectors_ND.shape, np.float64)
    for row, vector_D in enumerate(vectors_ND.astype(np.float64)):
        length = float(np.sqrt(np.square(vector_D).sum()))
        if length:
            unit_ND[row] = vector_D / length
    return unit_ND
