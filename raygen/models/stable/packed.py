"""Packed weights: linear layers in bfloat16 on a CPU, whose weights lie as oneDNN's kernels read them.

torch hands oneDNN plain weights, and oneDNN puts them into its own order anew in every product: for few rows that takes as
long as the product. Here it is done once, and the plain weights are let go. Layers beside each other that get the same input
(queries, keys and values; gate and up) are one product.
"""

# Shape letters: R = rows, I = inputs, O = outputs.

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Product = Callable[[torch.Tensor], torch.Tensor]
# Names under which the layers of one parent get the same input in transformers' models; what gets another one is still right.
BESIDE = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("gate_proj", "up_proj"))


def can_pack(layer: nn.Module) -> bool:
    """Is it a plain linear layer that oneDNN computes in bfloat16 on this CPU?"""
    return (
        type(layer) is nn.Linear
        and layer.weight.dtype == torch.bfloat16
        and layer.weight.device.type == "cpu"
        and _packs_here()
    )


@functools.cache
def _packs_here() -> bool:
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    some = torch.ones(16, 16, dtype=torch.bfloat16)
    try:
        packed_product(some, None)(some)
    except RuntimeError:  # oneDNN is told to use less than the CPU has
        return False
    return True


def packed_product(weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> Product:
    """Return the product of rows (R, I) with these weights, which are copied into oneDNN's order."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().contiguous(), None)
    product = torch.ops.mkldnn._linear_pointwise.default
    return lambda rows_RI: product(rows_RI, packed, bias_O, "none", [], "")


def beside(model: nn.Module) -> list[list[nn.Linear]]:
    """Return the layers that can be packed, those together that get the same input.

    Of a layer with an adapter (`base` within another module) the layer within counts.
    """
    by_path = {path.removesuffix(".base"): layer for path, layer in model.named_modules() if can_pack(layer)}
    found: list[list[nn.Linear]] = []
    for path in list(by_path):
        parent, _, own = path.rpartition(".")
        names = next((names for names in BESIDE if own == names[0]), (own,))
        paths = [f"{parent}.{name}" if parent else name for name in names]
        layers = [by_path[each] for each in paths if each in by_path]
        if len(layers) == len(paths) and _alike(layers):
            found.append(layers)
            for each in paths:
                del by_path[each]
    return found + [[layer] for layer in by_path.values()]


def _alike(layers: list[nn.Linear]) -> bool:
    return len({(layer.in_features, layer.bias is None) for layer in layers}) == 1


class Together:
    """One product for the layers of a group: computed for the first of them that is asked, and given to the others with it.

    A layer that is asked about another input is computed as it would be with the others: the product is always the whole one.
    """

    def __init__(self, product: Product, layers: list[nn.Linear]) -> None:
        self._product = product
        self._widths = [layer.out_features for layer in layers]
        self._input: torch.Tensor | None = None
        self._left: dict[int, torch.Tensor] = {}  # by number, of those that have not asked yet

    def part(self, number: int) -> Product:
        """Return the product of one of the layers."""

        def product(input: torch.Tensor) -> torch.Tensor:
            if input is not self._input or number not in self._left:
                self._left = dict(enumerate(self._product(input).split(self._widths, -1)))
                self._input = input
            output = self._left.pop(number)
            if not self._left:
                self._input = None  # nothing is held beyond a pass
            return output

        return product


def let_go(layers: list[nn.Linear]) -> None:
    """Free the plain weights of packed layers; an embedding that has them, too, keeps them.

    What stays in their place has shape, type and device; its numbers are NaN, so that code that would still multiply with them is
    found out.
    """
    for layer in layers:
        nothing = torch.full((1, 1), float("nan"), dtype=layer.weight.dtype)
        layer.weight = nn.Parameter(nothing.expand(layer.weight.shape), requires_grad=False)


def weights_of(layers: list[nn.Linear]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the weights (O, I) and the bias (O,) of layers as those of one."""
    if len(layers) == 1:
        return layers[0].weight.detach(), None if layers[0].bias is None else layers[0].bias.detach()
    biases: list[Any] = [layer.bias for layer in layers]
    bias_O = None if biases[0] is None else torch.cat(biases).detach()
    return torch.cat([layer.weight for layer in layers]).detach(), bias_O
