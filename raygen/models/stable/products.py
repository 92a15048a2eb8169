"""Stable products: matrix products that give a row the same bits however many rows there are.

A library chooses a kernel by the number of rows, and kernels add up in different orders: MKL on two threads takes another
one for 64 to 192 rows of 1536 inputs and 576 outputs, a CPU with AMX begins to use it at 48 rows. Which numbers of rows agree
depends on the sizes, the type, the threads and the machine; so it is found out by trying, once a machine, with products that
are exactly zero: what comes out is rounding error alone, and any other order of adding shows.
"""

# Shape letters: R = rows, I = inputs, O = outputs, P = rows of a trial that differ.

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from raygen.models.stable.packed import Product, Together, beside, let_go, packed_product, weights_of
from raygen.models.stable.trials import Trials, machine_trials
from raygen.models.stable.yardstick import FIRST, Fact, Yardstick

DIFFERENT = 11  # rows of a trial: prime, so that each comes to stand at every place of a kernel's block
OUTPUTS = 509  # different columns of weights; more outputs repeat them
DRAWS = 4  # of a product of few outputs; one is enough for many

_yardsticks: dict[tuple[Sort, int], Yardstick] = {}  # of this process, by threads


@dataclass(frozen=True, slots=True)
class Sort:
    """What decides, with rows and threads, which kernel computes a product."""

    kind: str  # linear, packed (as linear), conv1d, or matrix: a plain product
    inputs: int
    outputs: int
    bias: bool
    dtype: torch.dtype

    def __str__(self) -> str:
        kind = f"{self.kind}+bias" if self.bias else self.kind
        return f"{kind} {self.inputs}x{self.outputs} {str(self.dtype).removeprefix('torch.')}"

    def product(self, weight_OI: torch.Tensor) -> Product:
        """Return a product of this sort with these weights, made as a model's layer makes it."""
        bias_O = weight_OI.new_zeros(self.outputs) if self.bias else None
        if self.kind == "packed":
            return packed_product(weight_OI, bias_O)
        if self.kind == "linear":
            return lambda rows_RI: nn.functional.linear(rows_RI, weight_OI, bias_O)
        weight_IO = weight_OI.T.contiguous()
        if self.kind == "conv1d":
            return lambda rows_RI: torch.addmm(bias_O, rows_RI, weight_IO)
        return lambda rows_RI: rows_RI @ weight_IO


def sort_of(layer: nn.Module) -> Sort:
    """Return the sort of an nn.Linear's or a Conv1D's product."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if isinstance(layer, Conv1D):
        return Sort("conv1d", weight.shape[0], weight.shape[1], True, weight.dtype)
    return Sort("linear", weight.shape[1], weight.shape[0], layer.bias is not None, weight.dtype)


class StableProducts:
    """The products of one model: how many rows each computes alike, on the present thread's number of threads."""

    def __init__(self, device: torch.device) -> None:
        self._on_cpu = device.type == "cpu"
        self._trials = machine_trials() if self._on_cpu else None
        self._sorts: dict[Sort, Yardstick] = {}
        self._loose = False  # has the model weights that are no layer's?

    def stabilise(self, model: Any) -> None:
        """Change a model's linear layers in place: their rows are computed in pieces that agree. Blocks for the trials."""
        if not self._on_cpu:
            return
        packed = {layer for layers in beside(model) for layer in self._pack(layers)}
        for module in model.modules():
            if module in packed:
                continue
            if isinstance(module, nn.Linear | Conv1D):
                module.forward = self.wrapped(sort_of(module), module.forward)
            elif not isinstance(module, nn.Embedding):
                self._loose |= any(weight.dim() > 1 for weight in module.parameters(recurse=False))
        if self._loose and hasattr(model, "set_experts_implementation"):
            model.set_experts_implementation("eager")  # expert by expert, by the usual product
        self.save()

    def _pack(self, layers: list[nn.Linear]) -> list[nn.Linear]:
        """Let one product with packed weights compute these layers."""
        weight_OI, bias_O = weights_of(layers)
        sort = Sort("packed", weight_OI.shape[1], weight_OI.shape[0], bias_O is not None, weight_OI.dtype)
        together = Together(self.wrapped(sort, packed_product(weight_OI, bias_O)), layers)
        for number, layer in enumerate(layers):
            layer.forward = together.part(number)
        let_go(layers)
        return layers

    def wrapped(self, sort: Sort, product: Product) -> Product:
        """Return the product over rows in pieces that agree; as it is if it is not the CPU's."""
        if self._trials is None:
            return product
        yardstick = self._sorts.get(sort) or self._sorts.setdefault(sort, yardstick_of(sort, self._trials))

        def stable(input: torch.Tensor) -> torch.Tensor:
            rows = input.shape[:-1].numel()
            pieces = yardstick.pieces(rows)
            if not rows or (pieces == [rows] and input.dim() == 2):
                return product(input)
            flat_RI = input.reshape(rows, -1)
            if missing := sum(pieces) - rows:
                flat_RI = nn.functional.pad(flat_RI, (0, 0, 0, missing))
            parts = (
                [product(part) for part in flat_RI.split(pieces)] if len(pieces) > 1 else [product(flat_RI)]
            )
            output_RO = parts[0] if len(parts) == 1 else torch.cat(parts)
            return output_RO[:rows].reshape(*input.shape[:-1], -1)

        return stable

    def watching(self) -> AbstractContextManager[Any]:
        """Return what to hold while the model computes: products with weights that are no layer's, such as experts', go by it."""
        return _Linears(self) if self._loose else nullcontext()

    def facts(self) -> list[Fact]:
        """Return sort, least rows and bits of every yardstick."""
        return sorted((str(sort), each.least, each.bits) for sort, each in self._sorts.items())

    def save(self) -> None:
        if self._trials is not None:
            self._trials.save()


class _Linears(TorchFunctionMode):
    """Gives `linear` to stable products while it is held."""

    def __init__(self, products: StableProducts) -> None:
        super().__init__()
        self._products = products

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is not nn.functional.linear or len(args) < 2:
            return function(*args, **kwargs)
        weight_OI, rest = args[1], args[2:]
        bias = bool(rest and rest[0] is not None) or kwargs.get("bias") is not None
        sort = Sort("linear", weight_OI.shape[1], weight_OI.shape[0], bias, weight_OI.dtype)
        return self._products.wrapped(sort, lambda rows_RI: function(rows_RI, weight_OI, *rest, **kwargs))(
            args[0]
        )


def yardstick_of(sort: Sort, trials: Trials) -> Yardstick:
    """Return the yardstick of a sort on this thread's number of threads: known, or by trials that are kept."""
    threads = torch.get_num_threads()
    if (sort, threads) not in _yardsticks:
        subject = f"{sort}, {threads} threads"
        made = [functools.cache(lambda: zero_trial(sort))]  # kept for those that are tried first only

        def bits(rows: int) -> str:
            known = trials.get(subject, str(rows))
            if known is None:
                known = (made[0]() if made else zero_trial(sort))(rows)
                trials.put(subject, str(rows), known)
            return known

        _yardsticks[sort, threads] = Yardstick(bits, FIRST)
        made.clear()
    return _yardsticks[sort, threads]


def wide(numbers: torch.Tensor, dice: torch.Generator) -> torch.Tensor:
    """Return numbers of many sizes: sums of a few 16-bit products of one size are exact, in whatever order."""
    return numbers * torch.exp2(torch.randint(-6, 7, numbers.shape, generator=dice))


@torch.inference_mode()
def zero_trial(sort: Sort) -> Callable[[int], str]:
    """Return a function that tries a number of rows, and tells the kernel by what it leaves of products that are exactly zero.

    Half of the inputs and weights repeat the other half, the weights with the other sign, under one permutation.
    """
    cases: list[tuple[torch.Tensor, Product]] = []
    for seed in range(1 if sort.outputs >= 64 else DRAWS):
        dice = torch.Generator().manual_seed(seed)
        half = sort.inputs // 2
        rows_PI = torch.zeros(DIFFERENT, sort.inputs)
        columns_OI = torch.zeros(min(sort.outputs, OUTPUTS), sort.inputs)
        halves = wide(torch.randn(DIFFERENT + len(columns_OI), half, generator=dice), dice)
        order_I = torch.randperm(sort.inputs, generator=dice)
        rows_PI[:, order_I[: 2 * half]] = halves[:DIFFERENT].repeat(1, 2)
        columns_OI[:, order_I[: 2 * half]] = torch.cat([halves[DIFFERENT:], -halves[DIFFERENT:]], 1)
        columns_OI = columns_OI.to(sort.dtype)
        weight_OI = torch.empty(sort.outputs, sort.inputs, dtype=sort.dtype)
        for start in range(0, sort.outputs, len(columns_OI)):
            weight_OI[start : start + len(columns_OI)] = columns_OI[: sort.outputs - start]
        cases.append((rows_PI.to(sort.dtype), sort.product(weight_OI)))

    @torch.inference_mode()
    def bits(rows: int) -> str:
        digest = hashlib.sha256()
        which_R = torch.arange(rows) % DIFFERENT
        for rows_PI, product in cases:
            found_RO = product(rows_PI[which_R])
            first_PO = found_RO[:DIFFERENT]
            if not torch.equal(found_RO, first_PO[which_R]):
                return ""
            digest.update(first_PO.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    found: Callable[[int], str] = bits
    return found
