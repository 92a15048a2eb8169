"""The key/value budget: how many positions fit into the memory that a torch engine may take."""

from __future__ import annotations

from typing import Any

import torch

from raygen.engines.torch.memory.arena import STEP, least, round_up
from raygen.engines.torch.memory.prefixes import BLOCK
from raygen.errors import EngineConfigError
from raygen.limits import read_limits

GIB = 2**30
CPU_GIB = 4.0  # unless a job says otherwise, and a quarter of what is free if that is less
GPU_SHARE = 0.8  # of what is free after the weights are loaded


def kv_budget(
    model: Any, context: int, rows: int, given_gib: float | None, prefix_share: float, name: str
) -> tuple[int, int]:
    """Return the positions of the arena, and the number of prefix blocks.

    Args:
        context: positions that one sample must be able to hold. rows: samples at once.
        given_gib: the job's word; None: by what is free.

    Raises:
        EngineConfigError: one sample of the whole context does not fit. The message names the memory needed.
    """
    each = position_bytes(model)
    free = _free_bytes(next(model.parameters()).device)
    needed = least(context) * each
    if given_gib is not None:
        total = given_gib * GIB
    elif next(model.parameters()).device.type == "cuda":
        total = GPU_SHARE * free
    else:
        # One long context may take half of what is free; more would be a surprise.
        total = max(min(CPU_GIB * GIB, free / 4), min(needed / (1 - prefix_share) * 1.01, free / 2))
    blocks = int(total * prefix_share / (each * BLOCK))
    positions = int(total / each) - blocks * BLOCK
    if positions < least(context):
        fits = max((n for n in (2**k for k in range(4, 24)) if least(n) <= positions), default=0)
        raise EngineConfigError(
            f"model {name!r}: keys and values of one row of {context:,} tokens need {_gib(needed / (1 - prefix_share))}; "
            f"there are {_gib(total)}"
            + (" (options.kv_cache_gib)" if given_gib is not None else "")
            + f". Set options.kv_cache_gib, or options.context_tokens (at most {fits:,} fit)"
        )
    return min(positions, rows * round_up(context, STEP) + least(context)), blocks


def position_bytes(model: Any) -> int:
    """Bytes of one position's keys and values, all layers."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * next(model.parameters()).element_size())


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = read_limits().free_bytes
    # Where the system does not say, a small machine is assumed.
    return float(free) if free is not None else CPU_GIB * GIB


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
