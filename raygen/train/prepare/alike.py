"""Alike: which of the examples that came out alike stays. On columns of numbers, whole tables at a time.

Alike means: the same tokens go in. Of an input that several splits have, only the one stays that is judged by (test,
then validation), so that nothing is tested that was trained on. Within a split it stays once with each of its targets:
two answers to one question, or two labels of one text, are both evidence.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from raygen.train.families.units import Example, Units

DIGEST_BYTES = 16

# Of an encoded row, or of a changed copy of one: what all families have. The family's own columns follow.
SHARED = pa.schema(
    [
        # The place of its row among all rows of all sources.
        ("place", pa.int64()),
        # 0: the row itself.
        ("copy", pa.int16()),
        # Index in SPLITS.
        ("split", pa.int8()),
        # Of what goes in.
        ("digest", pa.binary(DIGEST_BYTES)),
        # The row's own digest: a copy is judged where its row is.
        ("origin", pa.binary(DIGEST_BYTES)),
        # Digest of what is to come out.
        ("answer", pa.uint64()),
        ("row_id", pa.string()),
    ]
)


def encoded_schema(units: Units) -> pa.Schema:
    """Return the schema of a family's encoded rows."""
    return pa.schema([*SHARED, *units.columns])


def digests(units: Units, example: Example, seed: int) -> tuple[bytes, int]:
    """Return the digests of what goes in, and of what is to come out. The seed makes another order of the same rows."""
    key = seed.to_bytes(8, "little")
    goes_in, comes_out = units.content(example)
    answer = hashlib.blake2b(comes_out, digest_size=8, key=key).digest()
    return hashlib.blake2b(goes_in, digest_size=DIGEST_BYTES, key=key).digest(), int.from_bytes(answer, "big")


def settle(encoded: pa.Table) -> tuple[pa.Table, int]:
    """Return the rows that stay, with their copies, and how many rows (copies not counted) do not.

    What is dropped of a part of all rows would be dropped of all of them: so parts may be settled first. The table
    holds copies beside their rows.
    """
    if not encoded.num_rows:
        return encoded, 0
    high, low = _numbers(encoded, "digest")
    split, answer, place, copy = (_column(encoded, name) for name in ("split", "answer", "place", "copy"))
    # Sorted by input, the split that has precedence first (the last of SPLITS), then target, then place.
    order = np.lexsort((place, answer, -split, low, high))
    order = order[copy[order] == 0]
    new_input = _differs(high[order], low[order])
    new_target = new_input | _differs(split[order], answer[order])
    leading = split[order][np.maximum.accumulate(np.where(new_input, np.arange(len(order)), 0))]
    stays = new_target & (split[order] == leading)
    kept_places = place[order[stays]]
    kept = np.isin(place, kept_places)
    return encoded.filter(pa.array(kept)), int(len(order) - len(kept_places))


def drop_copies(encoded: pa.Table) -> pa.Table:
    """Return the table without copies that are like another example: a row of any split, or an earlier copy."""
    if not encoded.num_rows:
        return encoded
    high, low = _numbers(encoded, "digest")
    place, copy = _column(encoded, "place"), _column(encoded, "copy")
    order = np.lexsort((copy, place, copy > 0, low, high))
    first = _differs(high[order], low[order])
    kept = np.zeros(len(order), bool)
    kept[order] = first | (copy[order] == 0)
    return encoded.filter(pa.array(kept))


def shuffled(encoded: pa.Table) -> pa.Table:
    """Return the table in the order of its digests: at random, and always the same."""
    high, low = _numbers(encoded, "digest")
    return encoded.take(
        pa.array(np.lexsort((_column(encoded, "copy"), _column(encoded, "place"), low, high)))
    )


def slice_numbers(encoded: pa.Table, column: str, slices: int) -> np.ndarray:
    """Return for each example in which of `slices` equal parts of all digests it is."""
    high, _ = _numbers(encoded, column)
    return (high >> np.uint64(32)) * np.uint64(slices) >> np.uint64(32)


def _differs(*columns: np.ndarray) -> np.ndarray:
    """Return for each row whether it differs from the one before it; the first does."""
    found = np.ones(len(columns[0]), bool)
    found[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return found


def _numbers(encoded: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a column of digests as two columns of numbers, in whose order the digests are."""
    column = encoded.column(name).combine_chunks()
    data = column.buffers()[1]
    start = column.offset * DIGEST_BYTES
    pairs = np.frombuffer(data, ">u8", 2 * len(column), start).reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]


def _column(encoded: pa.Table, name: str) -> np.ndarray:
    found: np.ndarray = encoded.column(name).to_numpy()
    return found
