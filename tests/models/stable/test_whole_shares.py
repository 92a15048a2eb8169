"""Activation functions give a number the same bits wherever it stands, on any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from raygen.models.stable.whole_shares import stabilise_activations, whole_count


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "name", ["silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "quick_gelu", "relu", "tanh", "sigmoid"]
)
@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_row_has_the_same_bits_at_every_place(name: str, count: int):
    model = nn.Sequential(ACT2FN[name])
    stabilise_activations(model)
    torch.set_num_threads(count)
    for width in (64, 80, 1376):
        rows = torch.randn(7, width) * 3
        alone = model(rows)
        for many in (1, 16, 48, 112, 368, 512):
            which = torch.arange(many) % 7
            assert torch.equal(model(rows[which]), alone[which]), (width, many)


def test_shares_are_of_whole_vectors():
    for threads in (1, 2, 3, 7, 16):
        for count in (1, 64, 1000, 22016, 40000, 10**6 + 16):
            for gelu in (False, True):
                filled = whole_count(count, threads, gelu)
                shares = max(1, min(threads, -(-filled // 2**15)))
                assert filled >= count
                assert filled % (64 * shares) == 0
                assert not (gelu and filled > 2**14) or filled % (64 * threads) == 0
    assert whole_count(256 * 1536, 2, False) == 256 * 1536


def test_functions_of_whole_rows_are_left_alone():
    model = nn.Sequential(nn.Softmax(-1), nn.SiLU())
    before: list[Any] = [each.forward for each in model]
    stabilise_activations(model)
    assert model[0].forward == before[0]
    assert model[1].forward != before[1]
