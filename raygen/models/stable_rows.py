"""Stable rows: modules made to give a row the same bits however many rows there are.

Three causes were found on CPUs. Matrix products differ when their rows are no multiple of 16: a classifier's head has
one row a text. Some products differ at other numbers of rows, too (`stable_products`). And some activation functions
compute the ends of each thread's share with scalar code that rounds otherwise than the vector code; with more than
two threads the shares end anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import activations

from raygen.models.stable_products import ROWS, stabilise_products


def stabilise_rows(model: Any) -> None:
    """Change a model's linear layers and activation functions in place; its numbers stay what they are, up to rounding."""
    stabilise_products(model)
    on_cpu = next(model.parameters()).device.type == "cpu"
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.forward = _padded(module.forward)
        elif on_cpu and _is_activation(module):
            module.forward = _row_by_row(module.forward)


def _padded(linear: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the layer over rows padded to a multiple of ROWS."""

    def forward(input: torch.Tensor) -> torch.Tensor:
        rows = input.shape[:-1].numel()
        if rows % ROWS == 0:
            return linear(input)
        flat = nn.functional.pad(input.reshape(rows, -1), (0, 0, 0, -rows % ROWS))
        return linear(flat)[:rows].reshape(*input.shape[:-1], -1)

    return forward


def _row_by_row(
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function applied to each text alone: its shares are then cut by the text's own length."""

    def forward(input: torch.Tensor) -> torch.Tensor:
        if input.dim() < 2:
            return activation(input)
        return torch.stack([activation(row) for row in input])

    return forward


def _is_activation(module: nn.Module) -> bool:
    if next(module.parameters(), None) is not None:
        return False
    return type(module).__module__ in (activations.__name__, nn.modules.activation.__name__)
