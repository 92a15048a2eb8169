"""Products give a row the same bits in any company, also where the library's own do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from raygen.models.stable import products as stable_products
from raygen.models.stable.packed import Product
from raygen.models.stable.products import Sort, StableProducts, zero_trial

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYGEN_TRIALS", str(tmp_path))
    monkeypatch.setattr(stable_products, "_yardsticks", {})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_order(rows_RI: torch.Tensor, weight_OI: torch.Tensor, backwards: bool) -> torch.Tensor:
    """A product that adds one after the other, from either end."""
    total_RO = torch.zeros(len(rows_RI), len(weight_OI))
    inputs = range(weight_OI.shape[1])
    for i in reversed(inputs) if backwards else inputs:
        total_RO += rows_RI[:, i, None].float() * weight_OI[:, i].float()
    return total_RO.to(rows_RI.dtype)


class Sly(nn.Linear):
    """Has a kernel of its own for few rows, as a CPU with AMX has."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        SEEN.append(len(input))
        return in_order(input, self.weight, len(input) < 48)


SEEN: list[int] = []


@pytest.fixture
def sly(monkeypatch: pytest.MonkeyPatch) -> Sly:
    def product(self: Sort, weight_OI: torch.Tensor) -> Product:
        return lambda rows_RI: in_order(rows_RI, weight_OI, len(rows_RI) < 48)

    monkeypatch.setattr(Sort, "product", product)
    torch.manual_seed(1)
    SEEN.clear()
    return Sly(32, 8, bias=False)


@pytest.mark.parametrize("kind", ["linear", "bias", "conv1d", "narrow"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_among_any_number_of_rows(kind: str, dtype: torch.dtype) -> None:
    # The sizes of SmolLM2-135M's down projection, with which MKL adds up in another order at 64 to 192 rows on some CPUs.
    torch.manual_seed(1)
    layer = {
        "linear": lambda: nn.Linear(1536, 576, bias=False),
        "bias": lambda: nn.Linear(1536, 576),
        "conv1d": lambda: Conv1D(576, 1536),
        "narrow": lambda: nn.Linear(1536, 2),
    }[kind]()
    model = nn.Sequential(layer).to(dtype)
    # Each row's exact product is zero, with the weights' halves: what comes out tells the order of adding.
    halves = torch.randn(784, 768).repeat(1, 2).to(dtype)
    with torch.inference_mode():
        weight_OI = layer.weight.T if kind == "conv1d" else layer.weight
        weight_OI[:, 768:] = -weight_OI[:, :768]
        layer.bias is None or layer.bias.zero_()
        order = torch.randperm(1536)
        weight_OI.copy_(weight_OI[:, order].clone())
        rows = halves[:, order].contiguous()
        plain = model(rows)
        StableProducts(CPU).stabilise(model)
        alone = torch.cat([model(rows[start : start + 16]) for start in range(0, 784, 16)])
        assert alone.float().abs().max() < 1e-3
        assert (alone != 0).float().mean() > 0.3
        for count in (1, 7, 16, 32, 48, 64, 100, 112, 192, 208, 512, 528, 784):
            assert torch.equal(model(rows[:count]), alone[:count]), count
        assert torch.equal(model(rows[None, :64])[0], alone[:64])
        assert model(rows[:0]).shape == plain[:0].shape


def test_the_trial_sees_another_order_of_adding_that_rounding_hides(sly: Sly) -> None:
    rows = torch.randn(64, 32).bfloat16()
    weight = sly.weight.detach().bfloat16()
    hidden = in_order(rows, weight, True) != in_order(rows, weight, False)
    assert hidden.float().mean() < 0.1  # random numbers show little of it
    tried = zero_trial(Sort("linear", 32, 8, False, torch.bfloat16))
    assert tried(16) == tried(32) != tried(48) == tried(64) != ""


def test_few_rows_are_filled_up_to_the_yardstick_and_all_agree(sly: Sly) -> None:
    products = StableProducts(CPU)
    model = nn.Sequential(sly)
    products.stabilise(model)
    assert [least for _, least, _ in products.facts()] == [48]
    rows = torch.randn(700, 32)
    with torch.inference_mode():
        whole = model(rows)
        for count in (1, 16, 47, 48, 64, 300, 530):
            SEEN.clear()
            assert torch.equal(model(rows[:count]), whole[:count]), count
            assert min(SEEN) >= 48
            assert sum(SEEN) - count < 48


def test_rows_that_differ_by_their_place_are_no_yardstick(sly: Sly, monkeypatch: pytest.MonkeyPatch) -> None:
    def product(self: Sort, weight_OI: torch.Tensor) -> Product:
        def by_place(rows_RI: torch.Tensor) -> torch.Tensor:
            return torch.cat(
                [in_order(rows_RI[:30], weight_OI, False), in_order(rows_RI[30:], weight_OI, True)]
            )

        return by_place

    monkeypatch.setattr(Sort, "product", product)
    tried = zero_trial(Sort("linear", 32, 8, False, torch.float32))
    assert tried(16) != ""
    assert tried(48) == ""


def test_a_process_with_what_another_found_tries_nothing(sly: Sly, monkeypatch: pytest.MonkeyPatch) -> None:
    first = StableProducts(CPU)
    first.stabilise(nn.Sequential(sly))
    facts = first.facts()
    assert [(sort, least) for sort, least, _ in facts] == [("linear 32x8 float32", 48)]

    def refuse(self: Sort, weight_OI: torch.Tensor) -> Product:
        raise AssertionError("tried again")

    monkeypatch.setattr(Sort, "product", refuse)
    stable_products._yardsticks.clear()
    stable_products.machine_trials.__globals__["_opened"].cache_clear()  # what a new process has not
    second = StableProducts(CPU)
    second.stabilise(nn.Sequential(Sly(32, 8, bias=False)))
    assert second.facts() == facts
    torch.set_num_threads(1)
    with pytest.raises(AssertionError, match="tried again"):  # another number of threads is another machine
        StableProducts(CPU).stabilise(nn.Sequential(Sly(32, 8, bias=False)))


def test_weights_of_no_layer_are_computed_alike_while_watched(sly: Sly) -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 32))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(rows, self.weight)

    experts = Experts()
    products = StableProducts(CPU)
    products.stabilise(nn.Sequential(experts))
    with torch.inference_mode(), products.watching():
        experts(torch.randn(5, 32))
    assert [(sort, least) for sort, least, _ in products.facts()] == [("linear 32x8 float32", 48)]
