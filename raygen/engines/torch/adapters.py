"""The adapter bank: several LoRA adapters resident beside one model; each token of a pass is given its own sample's."""

# Shape letters: N = tokens of a pass, G = tokens of one adapter; R = rank, I and O = a layer's inputs, outputs.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from raygen.engines.torch.memory.arena import round_up
from raygen.errors import EngineConfigError
from raygen.models.stable.products import Product, Sort, StableProducts
from raygen.models.text.lora import Lora

RANKS = 16  # ranks are filled up to multiples: few sizes of products


class AdaptedLinear(torch.nn.Module):
    """A linear layer of the model, and what the adapters add to it."""

    def __init__(self, base: torch.nn.Module, bank: AdapterBank) -> None:
        super().__init__()
        self.base = base
        self._bank = [bank]  # in a list: a module must not become a part of its own parts
        self.parts: dict[str, tuple[Product, Product]] = {}  # by adapter: with A (I, R), with scaled B (R, O)

    def forward(self, input_1NI: torch.Tensor) -> torch.Tensor:
        output_1NO: torch.Tensor = self.base(input_1NI)
        bank = self._bank[0]
        for name, rows_G in bank.groups:
            if name not in self.parts:
                continue
            if input_1NI.shape[:-1] != (1, bank.tokens):
                raise RuntimeError("an adapter's layer sees other tokens than the pass has: not supported")
            down, up = self.parts[name]
            output_1NO[0].index_add_(0, rows_G, up(down(input_1NI[0, rows_G])))
        return output_1NO


class AdapterBank:
    """Puts adapters into a model, in place; without `select` it computes what it did.

    Args:
        products: computes what the adapters add.

    Raises:
        EngineConfigError: an adapter names a layer that the model does not have or is not linear, or of another size.
    """

    def __init__(self, model: Any, adapters: Mapping[str, Lora], products: StableProducts) -> None:
        self.groups: list[tuple[str, torch.Tensor]] = []  # adapter, its tokens
        self.tokens = 0
        self._device = next(model.parameters()).device
        layers: dict[str, AdaptedLinear] = {}
        for name, lora in adapters.items():
            for path, part in lora.items():
                if path not in layers:
                    layers[path] = self._adapted(model, path, name)
                base = layers[path].base
                weight = next(base.parameters())
                sizes = tuple(weight.shape) if isinstance(base, Conv1D) else tuple(weight.shape[::-1])
                rank, inputs = part.a_RI.shape
                if (inputs, part.b_OR.shape[0]) != sizes:
                    raise EngineConfigError(
                        f"adapter {name!r} is of another model: its {path} takes {inputs} to {part.b_OR.shape[0]}, "
                        f"the model's {sizes[0]} to {sizes[1]}"
                    )
                filled = round_up(rank, RANKS) - rank
                a_IR = torch.nn.functional.pad(part.a_RI.float().T, (0, filled))
                b_RO = torch.nn.functional.pad(part.scale * part.b_OR.float().T, (0, 0, 0, filled))
                factors = (a_IR.contiguous().to(weight), b_RO.contiguous().to(weight))
                down, up = (_product(products, factor_IO) for factor_IO in factors)
                layers[path].parts[name] = (down, up)

    def _adapted(self, model: Any, path: str, adapter: str) -> AdaptedLinear:
        try:
            base = model.get_submodule(path)
        except AttributeError:
            base = None
        if not isinstance(base, torch.nn.Linear | Conv1D) or base is model.get_output_embeddings():
            raise EngineConfigError(
                f"adapter {adapter!r} changes {path!r}, which is no linear layer inside {type(model).__name__}"
            )
        adapted = AdaptedLinear(base, self)
        parent, _, own = path.rpartition(".")
        setattr(model.get_submodule(parent), own, adapted)
        return adapted

    def select(self, adapters: Sequence[str | None]) -> None:
        """Say which adapter each token of the next pass wants; None: the model itself."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(adapters):
            if name is not None:
                rows.setdefault(name, []).append(row)
        self.tokens = len(adapters)
        self.groups = [(name, torch.tensor(own, device=self._device)) for name, own in sorted(rows.items())]


def _product(products: StableProducts, factor_IO: torch.Tensor) -> Product:
    inputs, outputs = factor_IO.shape
    sort = Sort("matrix", inputs, outputs, False, factor_IO.dtype)
    return products.wrapped(sort, lambda rows_RI: rows_RI @ factor_IO)
