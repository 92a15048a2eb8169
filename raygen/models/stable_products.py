"""Stable products: matrix products that give a row the same bits however many rows there are.

At multiples of 16 rows most of them do. But a library may choose, for some numbers of rows, a kernel that adds up in another
order: MKL on two threads does for 1536 inputs, 576 outputs and 64 to 192 rows. Which numbers those are depends on the sizes, the
type, the threads and the machine; so it is found out by trying, once for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

ROWS = 16
MOST_ROWS = 512  # of one piece: with more, a product is no faster

Product = Callable[[torch.Tensor], torch.Tensor]
_agreeing: dict[tuple[Any, ...], bool] = {}  # for sizes and rows: found out once a process


def stabilise_products(model: Any) -> None:
    """Change a model's linear layers on a CPU in place: their rows are computed in pieces whose numbers of rows agree.

    What comes out is what 16 rows at a time give, to the last bit. Rows have to come in multiples of 16.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D) and module.weight.device.type == "cpu":
            module.forward = _in_pieces(module, module.forward)


def _in_pieces(module: nn.Module, product: Product) -> Product:
    """Return the layer over rows in pieces that agree."""
    weight = module.weight
    sizes = (type(module), *weight.shape, weight.dtype)

    def forward(input: torch.Tensor) -> torch.Tensor:
        rows = input.shape[:-1].numel()
        pieces = pieces_of(
            rows, lambda piece: _agrees((*sizes, torch.get_num_threads()), product, input, piece)
        )
        if len(pieces) == 1:
            return product(input)
        parts = [product(part) for part in input.reshape(rows, -1).split(pieces)]
        return torch.cat(parts).reshape(*input.shape[:-1], -1)

    return forward


def pieces_of(rows: int, agrees: Callable[[int], bool]) -> list[int]:
    """Cut rows into pieces that agree, multiples of 16, the largest first; 16 do, and fewer are left alone.

    All multiples may be pieces, for two take up to a quarter longer than one. Each is tried when it is first met.
    """
    pieces = []
    while rows > 0:
        largest = min(rows - rows % ROWS, MOST_ROWS)
        fitting = (piece for piece in range(largest, ROWS, -ROWS) if agrees(piece))
        pieces.append(next(fitting, min(rows, ROWS)))
        rows -= pieces[-1]
    return pieces


def _agrees(sizes: tuple[Any, ...], product: Product, like: torch.Tensor, rows: int) -> bool:
    """Are so many rows computed as 16 at a time are? Tried with random numbers, once."""
    key = (*sizes, rows)
    if key not in _agreeing:
        dice = torch.Generator().manual_seed(rows)
        trial = torch.randn(rows, like.shape[-1], generator=dice).to(like.dtype)
        apart = torch.cat([product(part) for part in trial.split(ROWS)])
        _agreeing[key] = torch.equal(product(trial), apart)
    return _agreeing[key]
