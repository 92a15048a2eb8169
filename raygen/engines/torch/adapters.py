"""The adapter bank: several LoRA adapters resident beside one model; each token of a pass is given its own sample's."""

# Shape letters: N = tokens of a pass, G = tokens of one adapter; R = rank, I and O = a layer's inputs, outputs.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from raygen.engines.torch.memory.arena import round_up
from raygen.errors import EngineConfigError
from raygen.models.stable.packed import Product
from raygen.models.stable.products import Sort, StableProducts
from raygen.models.text.lora import Lora, LoraLayer

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

    Adapters come and go between two passes; what is not theirs is computed as before, bit for bit.

    Args:
        model: as it was loaded: what is wrapped around its layers later is no part of what adapters may change.
        products: computes what the adapters add.
    """

    def __init__(self, model: Any, products: StableProducts) -> None:
        self.groups: list[tuple[str, torch.Tensor]] = []  # adapter, its tokens
        self.tokens = 0
        self.held: set[str] = set()
        self._model = model
        self._products = products
        self._device = next(model.parameters()).device
        head = model.get_output_embeddings()
        self._linear = {
            path: layer
            for path, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not head
        }
        self._layers: dict[str, AdaptedLinear] = {}

    def add(self, key: str, lora: Lora, name: str) -> None:
        """Hold an adapter under a key. Nothing has changed when it raises.

        Args:
            name: what people call it.

        Raises:
            EngineConfigError: it names a layer that the model does not have or is not linear, or of another size.
        """
        made = {path: self._products_of(path, part, name) for path, part in lora.items()}
        for path, products in made.items():
            if path not in self._layers:
                self._layers[path] = AdaptedLinear(self._linear[path], self)
                parent, _, own = path.rpartition(".")
                setattr(self._model.get_submodule(parent), own, self._layers[path])
            self._layers[path].parts[key] = products
        self.held.add(key)
        self._products.save()

    def remove(self, key: str) -> None:
        """Let go of an adapter that no token wants any more."""
        for layer in self._layers.values():
            layer.parts.pop(key, None)
        self.held.discard(key)
        self.groups = []

    def _products_of(self, path: str, part: LoraLayer, adapter: str) -> tuple[Product, Product]:
        base = self._linear.get(path)
        if base is None:
            raise EngineConfigError(
                f"adapter {adapter!r} changes {path!r}, which is no linear layer inside {type(self._model).__name__}"
            )
        weight = next(base.parameters())
        sizes = tuple(weight.shape) if isinstance(base, Conv1D) else tuple(weight.shape[::-1])
        rank, inputs = part.a_RI.shape
        if (inputs, part.b_OR.shape[0]) != sizes:
            raise EngineConfigError(
                f"adapter {adapter!r} is of another model: its {path} takes {inputs} to {part.b_OR.shape[0]}, "
                f"the model's {sizes[0]} to {sizes[1]}"
            )
        filled = round_up(rank, RANKS) - rank
        a_IR = torch.nn.functional.pad(part.a_RI.float().T, (0, filled))
        b_RO = torch.nn.functional.pad(part.scale * part.b_OR.float().T, (0, 0, 0, filled))
        down_IR, up_RO = a_IR.contiguous().to(weight), b_RO.contiguous().to(weight)
        return _product(self._products, down_IR), _product(self._products, up_RO)

    def select(self, adapters: Sequence[str | None]) -> None:
        """Say which adapter each token of the next pass wants; None: the model itself."""
        if not self.held:
            return
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
