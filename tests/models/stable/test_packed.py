"""Packed weights compute what plain ones do, layers beside each other together, and the plain ones are let go."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raygen.models.stable.packed import Product, Together, beside, can_pack
from raygen.models.stable.products import StableProducts

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    not can_pack(nn.Linear(2, 2).bfloat16()), reason="oneDNN computes no bfloat16 on this CPU"
)


class Attention(nn.Module):
    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.q_proj = nn.Linear(64, 96, bias=bias)
        self.k_proj = nn.Linear(64, 32, bias=bias)
        self.v_proj = nn.Linear(64, 32, bias=bias)

    def forward(self, rows: torch.Tensor, other: torch.Tensor) -> list[torch.Tensor]:
        return [self.q_proj(rows), self.k_proj(other), self.v_proj(rows)]


@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_layers_that_are_computed_together_give_what_each_gave(bias: bool) -> None:
    torch.manual_seed(1)
    model = Attention(bias).bfloat16()
    rows, other = torch.randn(1, 20, 64).bfloat16(), torch.randn(1, 20, 64).bfloat16()
    plain = model(rows, rows), model(rows, other)
    assert [len(layers) for layers in beside(model)] == [3]
    StableProducts(CPU).stabilise(model)
    for expected, found in zip(plain, (model(rows, rows), model(rows, other)), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    # Asked in another order, or about another input, a row has the same bits.
    assert torch.equal(model.v_proj(other), model(other, other)[2])
    assert torch.equal(model.k_proj(rows[:, :5]), model(rows, rows)[1][:, :5])


def test_one_product_serves_all_that_ask_about_the_same_input_and_nothing_is_held() -> None:
    asked = []

    def product(rows: torch.Tensor) -> torch.Tensor:
        asked.append(rows)
        return rows

    together = Together(product, [nn.Linear(5, 2), nn.Linear(5, 3)])
    parts: list[Product] = [together.part(number) for number in range(2)]
    one, other = torch.arange(5.0)[None], torch.arange(5.0, 10.0)[None]
    assert [part(one).tolist() for part in parts] == [[[0, 1]], [[2, 3, 4]]]
    assert len(asked) == 1
    assert together._input is None
    assert parts[0](one).tolist() == [[0, 1]]
    assert parts[0](other).tolist() == [[5, 6]]  # another pass: what is left of the last one is no answer
    assert parts[1](one).tolist() == [[2, 3, 4]]
    assert len(asked) == 4


@torch.inference_mode()
def test_plain_weights_are_let_go_but_for_those_that_something_else_has() -> None:
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(40, 64),
            "head": nn.Linear(64, 40, bias=False),
            "layer": nn.Linear(64, 64, bias=False),
        }
    ).bfloat16()
    model["head"].weight = model["embedding"].weight
    kept = model["embedding"].weight.clone()
    StableProducts(CPU).stabilise(model)
    assert torch.equal(model["embedding"].weight, kept)
    rows = torch.randn(3, 64).bfloat16()
    torch.testing.assert_close(model["head"](rows), rows @ kept.T, rtol=2e-2, atol=2e-2)
    left = model["layer"].weight
    assert (left.shape, left.dtype, left.untyped_storage().nbytes()) == ((64, 64), torch.bfloat16, 2)
    assert left.isnan().all()  # who would still compute with it finds out
    assert model["layer"](rows).isfinite().all()


def test_only_plain_layers_in_bfloat16_are_packed() -> None:
    class Own(nn.Linear):
        pass

    assert not can_pack(nn.Linear(2, 2))
    assert not can_pack(Own(2, 2).bfloat16())
    assert not can_pack(nn.Embedding(2, 2).bfloat16())
    different = Attention().bfloat16()
    different.v_proj = nn.Linear(16, 32, bias=False).bfloat16()  # gets something else
    assert [len(layers) for layers in beside(different)] == [1, 1, 1]
