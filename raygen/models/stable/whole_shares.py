"""Whole shares: activation functions whose every number is computed by the same code, whatever stands beside it.

torch cuts a large tensor into a share for each thread, and computes the end of a share, where it does not fill a vector, with
other code, that rounds otherwise (SiLU, sigmoid and GELU's tanh form do). On one or two threads shares of usual widths end well;
on more they end anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import activations

VECTORS = 64  # numbers: two vectors of 512 bits of the smallest type; loops take two at a time
GRAIN = 2**15  # numbers of a share, at least
GELU_GRAIN = 2**14  # GELU gives every thread a share from here on
NOT_BY_NUMBER = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.GLU)  # they look at a whole row

Function = Callable[[torch.Tensor], torch.Tensor]


def stabilise_activations(model: Any) -> None:
    """Change a model's activation functions on a CPU in place: they are given numbers enough to fill every share."""
    for module in model.modules():
        if _is_activation(module):
            module.forward = in_whole_shares(module.forward, "gelu" in type(module).__name__.lower())


def in_whole_shares(function: Function, gelu: bool) -> Function:
    """Return the function over numbers enough to fill every share; `gelu`: GELU may be a part of it."""

    def forward(input: torch.Tensor) -> torch.Tensor:
        count = input.numel()
        filled = whole_count(count, torch.get_num_threads(), gelu)
        if filled == count:
            return function(input.contiguous())
        flat = input.new_zeros(filled)
        flat[:count] = input.reshape(-1)
        return function(flat)[:count].view(input.shape)

    return forward


def whole_count(count: int, threads: int, gelu: bool) -> int:
    """Return a number, of `count` or more, that is cut into shares of whole vectors."""
    while True:
        shares = max(1, min(threads, -(-count // GRAIN)))
        if gelu and count > GELU_GRAIN:
            shares = math.lcm(shares, threads)
        step = VECTORS * shares
        filled = -(-count // step) * step
        if filled == count:
            return count
        count = filled


def _is_activation(module: nn.Module) -> bool:
    if next(module.parameters(), None) is not None or isinstance(module, NOT_BY_NUMBER):
        return False
    return type(module).__module__ in (activations.__name__, nn.modules.activation.__name__)
