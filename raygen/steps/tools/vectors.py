"""Vectors of texts: rows of length 1, whose products are cosines."""

# Shape letters: N = texts, D = width.

from __future__ import annotations

import numpy as np


def unit_rows(vectors_ND: np.ndarray) -> np.ndarray:
    """Return the rows with length 1, float64; row by row, so that none depends on the others. Zeros stay zeros."""
    found_ND = np.zeros(vectors_ND.shape, np.float64)
    for row, vector_D in enumerate(vectors_ND.astype(np.float64)):
        length = float(np.sqrt(np.square(vector_D).sum()))
        if length:
            found_ND[row] = vector_D / length
    return found_ND
