"""Attention over slots: each token of a pass sees its own sample and nothing else.

A token's numbers must not depend on its neighbours; floating-point sums depend on how a kernel cuts its loops, so every size
that a token's products see is its own, fixed, or rounded up to a step at which kernels were found to agree.
"""

# Shape letters: N = tokens of this pass, R = rows that decode, B = prompts alike, T = query tokens of one,
# L = attended keys, D = head width, H = query heads, K = key/value heads, G = H / K query heads that share a key head.

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

from raygen.engines.torch.attention.fused import fused
from raygen.engines.torch.attention.products import Products, Sizes
from raygen.engines.torch.passes import Group, Pass
from raygen.errors import EngineError

ATTENTION = "raygen_slots"  # unknown to transformers' masks on purpose: it then makes none, and Pass decides


def attention(
    module: torch.nn.Module,
    query_1HND: torch.Tensor,
    key_1KND: torch.Tensor,
    value_1KND: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float | None = None,
    now: Pass | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend, with softmax in fp32; registered with transformers under ATTENTION. Returns (1, N, H, D).

    Raises:
        EngineError: the model's attention has a feature that this function does not compute.
    """
    if now is None or s_aux is not None:
        raise EngineError(f"engine `torch` does not know the attention of {type(module).__name__}")
    query_NHD = query_1HND[0].transpose(0, 1)
    scale = query_NHD.shape[2] ** -0.5 if scaling is None else scaling
    mixed_NHD = query_NHD.new_empty(*query_NHD.shape[:2], value_1KND.shape[3])
    mixed_NHD[now.tokens :] = 0  # what only fills up the pass must be numbers too
    for group in now.groups:
        keys_BKLD, values_BKLD = now.layer.slots(group.offset, group.length, group.slots)
        if group.index is not None:
            keys_BKLD = keys_BKLD[group.index, :, : group.attended]
            values_BKLD = values_BKLD[group.index, :, : group.attended]
        else:
            keys_BKLD, values_BKLD = keys_BKLD[:, :, : group.attended], values_BKLD[:, :, : group.attended]
        tokens = slice(group.first, group.first + group.count)
        given_NHD = query_NHD[tokens]
        b, t = group.position_BT.shape
        if group.place_N is not None:
            spread_NHD = given_NHD.new_zeros(b * t, *given_NHD.shape[1:])
            given_NHD = spread_NHD.index_copy_(0, group.place_N, given_NHD)
        mixed_BTHD = _attend(
            given_NHD.reshape(b, t, *given_NHD.shape[1:]),
            keys_BKLD,
            values_BKLD,
            group,
            now.products,
            scale,
            sliding_window,
            softcap,
        )
        found_NHD = mixed_BTHD.reshape(b * t, *mixed_BTHD.shape[2:])
        mixed_NHD[tokens] = found_NHD if group.place_N is None else found_NHD[group.place_N]
    return mixed_NHD[None], None


def _attend(
    query_BTHD: torch.Tensor,
    keys_BKLD: torch.Tensor,
    values_BKLD: torch.Tensor,
    group: Group,
    products: Products,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    b, t, h, d = query_BTHD.shape
    k, keys = keys_BKLD.shape[1], keys_BKLD.shape[2]
    query_BKRD = query_BTHD.view(b, t, k, h // k, d).permute(0, 2, 3, 1, 4).reshape(b, k, -1, d)
    own = products.of(Sizes(k, h // k, d, values_BKLD.shape[3], query_BTHD.dtype))
    if softcap is None and own.fused:
        bias_B1RL = group.bias(window, h // k, query_BTHD.dtype)
        mixed_BKRD = fused(query_BKRD, keys_BKLD, values_BKLD, bias_B1RL, scale, own.fused[0])
        return mixed_BKRD.reshape(b, h, t, -1).transpose(1, 2)
    scores_BKRL = own.scores(query_BKRD, keys_BKLD).mul_(scale)
    scores_BKGTL = scores_BKRL.view(b, k, h // k, t, keys)
    if softcap is not None:
        scores_BKGTL = torch.tanh(scores_BKGTL / softcap) * softcap
    scores_BKGTL.masked_fill_(group.mask(window)[:, None, None], float("-inf"))
    weights_BKRL = torch.softmax(scores_BKGTL, -1).to(query_BTHD.dtype).view(b, k, -1, keys)
    return own.weighted(weights_BKRL, values_BKLD).view(b, h, t, -1).transpose(1, 2)


AttentionInterface.register(ATTENTION, attention)
