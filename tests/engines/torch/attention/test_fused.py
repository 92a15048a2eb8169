"""Fused attention: what the products compute, with the same bits in any company; where a trial finds that not, products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.engines.torch.attention.fused import LEAST, fused, fused_bits, fused_keys
from raygen.engines.torch.attention.products import AttentionProducts, Sizes

SDPA = torch.nn.functional.scaled_dot_product_attention


@pytest.fixture(autouse=True)
def _own_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYGEN_TRIALS", str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bias_of(position_BR: torch.Tensor, keys: int, window: int | None = None) -> torch.Tensor:
    key_L = torch.arange(keys)
    hidden = key_L > position_BR[..., None]
    if window is not None:
        hidden |= key_L <= position_BR[..., None] - window
    return torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))[:, None]


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("keys", [64, 100, 256, 700, 1200])
def test_it_is_attention(keys: int, window: int | None) -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(3, 2, rows, 16) for rows in (32, keys, keys))
    position = torch.randint(0, keys, (3, 32))
    position[0] = keys - 1  # of a window's row whole blocks of keys are out of sight
    bias = bias_of(position, keys, window)
    expected = torch.softmax(query @ key.transpose(2, 3) * 0.25 + bias, -1) @ value
    found = fused(query, key, value, bias, 0.25, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_alike_among_any_slots_rows_and_keys(dtype: torch.dtype) -> None:
    products = AttentionProducts(Sizes(2, 2, 16, 16, dtype), on_cpu=True)
    if products.fused is None:
        pytest.skip("on this CPU attention is computed by products")
    least, _ = products.fused
    torch.manual_seed(1)
    slots, seen = 5, 130
    query, key, value = (torch.randn(slots, 2, rows, 16).to(dtype) for rows in (40, 1200, 1200))
    bias = bias_of(torch.full((slots, 40), seen - 1), 1200).to(dtype)
    alone = fused(
        query[:1, :, :2], key[:1, :, :seen], value[:1, :, :seen], bias[:1, :, :2, :seen], 0.25, least
    )
    for some, rows, keys in ((1, 2, 256), (5, 2, 512), (2, 40, 256), (5, 40, 1200), (3, 2, 600)):
        found = fused(
            query[:some, :, :rows],
            key[:some, :, :keys],
            value[:some, :, :keys],
            bias[:some, :, :rows, :keys],
            0.25,
            least,
        )
        assert torch.equal(found[:1, :, :2], alone), (some, rows, keys)


def test_keys_are_few_numbers() -> None:
    assert [fused_keys(seen) for seen in (1, 64, 65, 256, 257, 512, 513, 1025)] == [
        64, 64, 128, 256, 512, 512, 1024, 1536,
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["slots", "rows", "keys"])
def test_a_kernel_that_goes_by_its_company_is_found_out(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sly(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **rest: Any) -> torch.Tensor:
        found: torch.Tensor = SDPA(query, key, value, **rest)
        other = {"slots": len(query) > 2, "rows": query.shape[2] > 64, "keys": key.shape[2] == 256}[what]
        return torch.nextafter(found, found + 1) if other else found

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", sly)
    assert fused_bits(2, 2, 16, torch.float32, 1) == ""
    assert AttentionProducts(Sizes(2, 2, 16, 16, torch.float32), on_cpu=True).fused is None


def test_few_rows_are_filled_up_where_few_are_computed_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def sly(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **rest: Any) -> torch.Tensor:
        found: torch.Tensor = SDPA(query, key, value, **rest)
        return torch.nextafter(found, found + 1) if query.shape[2] < 8 else found

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", sly)
    products = AttentionProducts(Sizes(2, 2, 16, 16, torch.bfloat16), on_cpu=True)
    # nextafter of bfloat16 is a step that is seen
    assert products.fused is None or products.fused[0] >= 8
    assert 8 in LEAST
    calls = []
    monkeypatch.setattr(
        "raygen.engines.torch.attention.products.fused_bits", lambda *a: calls.append(a) or ""
    )
    again = AttentionProducts(Sizes(2, 2, 16, 16, torch.bfloat16), on_cpu=True)
    assert again.fused == products.fused
    assert calls == []  # what was found once is kept


def test_other_widths_of_values_and_other_devices_are_computed_by_products() -> None:
    assert AttentionProducts(Sizes(2, 2, 16, 8, torch.float32), on_cpu=True).fused is None
    assert AttentionProducts(Sizes(2, 2, 16, 16, torch.float32), on_cpu=False).fused is None
