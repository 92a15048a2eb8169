"""Fused attention: torch's own, in one call, on CPUs where a trial finds that it gives a row the same bits in any company.

It goes over the keys block by block, and copies neither keys nor values: several times faster for few rows than a product, a
softmax and a product. How it cuts its work depends on slots, query rows and keys. Whether that shows is tried once a machine,
over a grid of sizes, with sums that are exactly zero (`raygen.models.stable.products`); few query rows are filled up to as many
as agree with many. Where nothing agrees, attention is computed by products (`products`).
"""

# Shape letters: B = slots, K = key/value heads, G = query heads that share one, R = G x query tokens, L = keys, D = head width,
# P and Q = rows and keys of a trial that differ.

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import product

import torch

from raygen.models.stable.products import wide

BLOCK = 512  # keys of a block of torch's kernel
KEYS = (
    64,
    128,
    256,
    BLOCK,
)  # numbers of keys that are computed; more are whole blocks. Of others the last ones are added up otherwise
# Query tokens, slots, keys; the first is what the others are compared with. Around the sizes at which torch's kernel cuts
# (32 and 64 query rows), and where it begins to pack its factors (64 of both).
GRID = (
    (48, 1, 3 * BLOCK),
    *product((1,), (1, 2, 8), (*KEYS, 2 * BLOCK, 3 * BLOCK)),
    *product((16, 48, 80, 256), (1, 2), (*KEYS, 2 * BLOCK)),
)
LEAST = (1, 2, 4, 8, 16)  # query rows: torch takes other code for few
SEEN = (16, 80, 144, 304, 528)  # keys that a row sees, of those that there are
HEADS = 4  # of a trial at most
P, Q = 5, 13


def fused_keys(seen: int) -> int:
    """Return how many keys to compute, for so many that are seen."""
    return next((keys for keys in KEYS if seen <= keys), -(-seen // BLOCK) * BLOCK)


def fused(
    query_BKRD: torch.Tensor,
    keys_BKLD: torch.Tensor,
    values_BKLD: torch.Tensor,
    bias_B1RL: torch.Tensor,
    scale: float,
    least: int,
) -> torch.Tensor:
    """Return attention, (B, K, R, D).

    Args:
        keys_BKLD, values_BKLD: of any number of keys.
        bias_B1RL: 0 where a key is seen, else -inf; in the type of the query. Where rows see the same keys, R is 1.
        least: query rows to compute, where there are fewer.
    """
    rows = query_BKRD.shape[2]
    if rows < least:
        query_BKRD = torch.nn.functional.pad(query_BKRD, (0, 0, 0, least - rows))
    keys = keys_BKLD.shape[2]
    if missing := fused_keys(keys) - keys:  # seldom: slots are as long, but for the longest
        keys_BKLD, values_BKLD = (
            torch.nn.functional.pad(each, (0, 0, 0, missing)) for each in (keys_BKLD, values_BKLD)
        )
        bias_B1RL = torch.nn.functional.pad(bias_B1RL, (0, missing), value=float("-inf"))
    bias_BKRL = bias_B1RL.expand(*query_BKRD.shape[:3], -1)
    mixed_BKRD: torch.Tensor = torch.nn.functional.scaled_dot_product_attention(
        query_BKRD, keys_BKLD, values_BKLD, attn_mask=bias_BKRL, scale=scale
    )
    return mixed_BKRD[:, :, :rows]


@torch.inference_mode()
def fused_bits(heads: int, shared: int, width: int, dtype: torch.dtype, least: int) -> str:
    """Return what tells how a CPU computes fused attention with the present threads, or "" if a row's bits depend on its company.

    Args:
        least: query rows to compute, where there are fewer.
    """
    digest = hashlib.sha256()
    for seen in SEEN:
        for query_PD, keys_LD, values_LD, scale in _cases(seen, width, dtype):
            first_PD: torch.Tensor | None = None
            for tokens, slots, keys in GRID:
                if keys < seen:
                    continue
                row_R = torch.arange(tokens * shared) % P
                batch = (slots, min(heads, HEADS))
                bias_L = torch.zeros(keys, dtype=dtype)
                bias_L[seen:] = float("-inf")
                found_BKRD = fused(
                    query_PD[row_R].expand(*batch, -1, -1).contiguous(),
                    keys_LD[:keys].expand(*batch, -1, -1).contiguous(),
                    values_LD[:keys].expand(*batch, -1, -1).contiguous(),
                    bias_L.expand(slots, 1, 1, -1),
                    scale,
                    least,
                )
                if first_PD is None:
                    first_PD = found_BKRD[0, 0, :P].clone()
                if not torch.equal(found_BKRD, first_PD[row_R].expand_as(found_BKRD)):
                    return ""
            assert first_PD is not None
            digest.update(first_PD.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _cases(
    seen: int, width: int, dtype: torch.dtype
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]]:
    """Give queries (P, D), keys and values (L, D), and a scale: one case shows how scores are added up, one how values are."""
    most = max(keys for _, _, keys in GRID)
    dice = torch.Generator().manual_seed(seen)
    half = width // 2
    halves = wide(torch.randn(P + Q, half, generator=dice), dice)
    order_D = torch.randperm(width, generator=dice)[: 2 * half]
    query_PD, key_QD = torch.zeros(P, width), torch.zeros(Q, width)
    query_PD[:, order_D] = halves[:P].repeat(1, 2)
    key_QD[:, order_D] = torch.cat([halves[P:], -halves[P:]], 1)
    query_PD, key_QD = query_PD.to(dtype), key_QD.to(dtype)
    keys_LD = key_QD[torch.arange(most) % Q]
    values_LD = wide(torch.randn(most, width, generator=dice), dice).to(dtype)
    # Every exact score is zero. What is left of rounding is made as large as scores are.
    left = float((query_PD.float() @ key_QD.float().T).abs().max())
    yield query_PD, keys_LD, values_LD, 1 / left if left > 0 else 1.0
    # Every weight is the same, and what they weigh adds up to zero.
    added_LD = torch.ones(most, width)
    some = wide(torch.randn(seen // 2, width, generator=dice), dice)
    added_LD[torch.randperm(seen, generator=dice)] = torch.cat([some, -some])
    yield torch.zeros_like(query_PD), keys_LD, added_LD.to(dtype), 1.0
