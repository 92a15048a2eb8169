"""Seeds: a number for every sample that depends on its place in the run alone."""

from __future__ import annotations

import hashlib


def seed_of(run_seed: int, row_id: str, sample: int, attempt: int, step: str) -> int:
    """Return the seed of one sample: 53 bits, so that it survives JSON. Depends on nothing but its arguments."""
    text = f"{run_seed}\x00{row_id}\x00{sample}\x00{attempt}\x00{step}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 11
