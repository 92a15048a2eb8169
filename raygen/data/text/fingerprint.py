"""Fingerprint: what a text says, in a few bytes: a digest that only the same text has, a signature that tells likeness."""

from __future__ import annotations

import functools
import unicodedata
import zlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from pydantic import Field

from raygen.config.base import Frozen

DIGEST_BYTES = 16
VALUE = np.dtype("<u2")  # one of a signature
SEED = 1  # of the permutations: another one makes other signatures
BATCH = 4096  # runs of characters hashed at once
FOUND = 0.9  # of pairs that are just as alike as is asked for, at least so many become candidates


class Near(Frozen):
    """How alike two texts are: the share of their runs of characters that both have (Jaccard), estimated by MinHash."""

    similarity: float = Field(0.8, ge=0.5, le=1, description="from this on they are duplicates")
    ngram: int = Field(5, ge=1, le=100, description="characters of a run")
    permutations: int = Field(
        128, ge=16, le=1024, description="more: a surer estimate, and 2 bytes a row for each"
    )


def normalised(text: str) -> str:
    """Return a text without what does not make it another: case, the kind and number of white space, Unicode's spellings.

    Signs and punctuation stay: `3-2` and `3+2`, or `x2` and its square, say different things.
    """
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def fingerprint(texts: Sequence[str], near: Near | None) -> bytes | None:
    """Return the fingerprint of one or several texts taken together; None when there is nothing in them.

    Returns:
        128 bits of BLAKE2 over the normalised texts; with `near` then its MinHash signature, a VALUE a permutation.
    """
    parts = [normalised(text) for text in texts]
    if not any(parts):
        return None
    whole = "\n".join(parts)  # no line break is left in a part
    digest = blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
    return digest if near is None else digest + signature(whole, near).tobytes()


def signature(text: str, near: Near) -> np.ndarray:
    """Return the MinHash signature of a text's runs of `near.ngram` characters: VALUE, (permutations,).

    The share of places in which two signatures agree estimates the Jaccard similarity of the two sets of runs, with a
    standard error of sqrt(s (1 - s) / permutations). Of each 32-bit minimum 16 bits are kept, mixed: by chance two
    values agree once in 65,536.

    Source:
        Broder 1997, "On the resemblance and containment of documents"; Li and König 2010, arXiv:0910.3349 (b bits).
    """
    size = near.ngram
    runs = {text[at : at + size] for at in range(max(1, len(text) - size + 1))}
    made = _empty(near.permutations).copy()
    encoded = [run.encode("utf-8", "surrogatepass") for run in runs]
    for at in range(0, len(encoded), BATCH):  # the whole of a long text at once would take 512 bytes a run
        made.update_batch(encoded[at : at + BATCH])
    mixed: np.ndarray = (made.hashvalues.astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(16)
    return mixed.astype(VALUE)


@functools.cache
def _empty(permutations: int) -> Any:
    from datasketch import MinHash  # half a second, with scipy

    # CRC-32 takes a fortieth of the usual SHA-1's time; MinHash itself mixes what comes out.
    return MinHash(permutations, seed=SEED, scheme="affine32", hashfunc=zlib.crc32)


def band_rows(similarity: float, permutations: int) -> int:
    """Return how many values of a signature make a band: the more, the fewer pairs become candidates.

    Two signatures are a pair to compare when they agree in all of one band. Of pairs with this similarity at least
    FOUND do, of more similar ones more.
    """
    fitting = [
        rows
        for rows in range(1, permutations + 1)
        if 1 - (1 - similarity**rows) ** (permutations // rows) >= FOUND
    ]
    return max(fitting, default=1)
