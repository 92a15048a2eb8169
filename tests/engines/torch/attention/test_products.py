"""Attention's products give a slot's rows the same bits, however many slots, rows and keys they are computed with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raygen.engines.torch.attention.products import LENGTHS, PROMPTS, AttentionProducts, Shape, Sizes, Tiles
from raygen.models.stable.trials import Trials


@pytest.fixture(autouse=True)
def _own_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYGEN_TRIALS", str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 16])
def test_a_slot_has_the_same_bits_among_any_slots_and_keys(dtype: torch.dtype, tokens: int):
    # Small enough that torch leaves few slots in 16 bits to code of its own; 240 keys are two halves to MKL.
    products = AttentionProducts(Sizes(2, 2, 16, 16, dtype), on_cpu=True)
    rows = 2 * tokens
    torch.manual_seed(1)
    queries, keys = torch.randn(9, 2, rows, 16).to(dtype), torch.randn(9, 2, 528, 16).to(dtype)
    for own in (32, 128, 176, 320):  # positions that a row sees; what is behind has no weight
        halves = torch.randn(9, 2, own // 2, 16)
        order = torch.randperm(own)
        values = torch.randn(9, 2, 528, 16)
        halves *= torch.exp2(torch.randint(-6, 7, halves.shape))
        values[:, :, order] = torch.cat([halves, -halves], 2)
        weights = torch.zeros(9, 2, rows, 528)
        weights[..., order] = torch.rand(9, 2, rows, own // 2).repeat(1, 1, 1, 2)
        values, weights = values.to(dtype), weights.to(dtype)
        alone = products.weighted(weights[:1, ..., :own], values[:1, :, :own])
        scores = products.scores(queries[:1], keys[:1, :, :own])
        assert alone.count_nonzero() > 0 or dtype == torch.bfloat16  # whose few products may add up exactly
        for slots in (1, 2, 3, 9):
            for length in (own, own + 16, 240, 256, 272, 528):
                if length < own:
                    continue
                found = products.weighted(weights[:slots, ..., :length], values[:slots, :, :length])
                assert torch.equal(found[:1], alone), (own, slots, length)
                seen = products.scores(queries[:slots], keys[:slots, :, :length])
                assert torch.equal(seen[:1, ..., :own], scores), (own, slots, length)


def test_they_are_the_products():
    products = AttentionProducts(Sizes(2, 2, 16, 16, torch.float32), on_cpu=True)
    queries, keys = torch.randn(3, 2, 32, 16), torch.randn(3, 2, 400, 16)
    torch.testing.assert_close(
        products.scores(queries, keys), queries @ keys.transpose(2, 3), rtol=1e-4, atol=1e-4
    )
    weights = torch.rand(3, 2, 32, 400)
    torch.testing.assert_close(products.weighted(weights, keys), weights @ keys, rtol=1e-4, atol=1e-4)
    assert [what.split()[:2] for what, _, _ in products.facts() if "fused" not in what] == [
        ["scores", "prompts"],
        ["values", "prompts"],
    ]


def tiles_of(
    folder: Path, kernel: dict[str, int], blocks: tuple[int, ...] = (256, 128, 64)
) -> tuple[Tiles, list[Shape]]:
    """Tiles of a machine with another kernel below some slots or rows, or from some keys on for own lengths of 128 and more."""
    tried: list[Shape] = []

    def bits(shape: Shape) -> list[str]:
        tried.append(shape)
        slots, rows, keys = shape
        few = "few" if slots < kernel.get("slots", 0) or rows < kernel.get("rows", 0) else "many"
        halves = keys >= kernel.get("keys", 10**9)
        lengths = [length for length in LENGTHS if length <= keys]
        return [few + "-halves" * (halves and length >= 128) for length in lengths]

    return Tiles("test", bits, [(b, r) for b, r in PROMPTS], blocks, Trials(folder / "t.json")), tried


def test_where_all_sizes_agree_they_stay_as_they_are(tmp_path: Path):
    tiles, _ = tiles_of(tmp_path, {})
    assert tiles.block == 256
    assert tiles.tile((3, 48, 144)) == (3, 48, 144)


def test_blocks_are_short_enough_that_their_length_does_not_matter(tmp_path: Path):
    tiles, _ = tiles_of(tmp_path, {"keys": 240})
    assert tiles.block == 128


def test_sizes_of_another_kernel_are_filled_up(tmp_path: Path):
    slots, _ = tiles_of(tmp_path, {"slots": 2})
    assert slots.tile((1, 64, 32)) == (2, 64, 32)
    assert slots.tile((5, 64, 32)) == (5, 64, 32)
    rows, _ = tiles_of(tmp_path / "rows", {"rows": 48})
    assert rows.tile((1, 16, 32)) == (1, 64, 32)
    assert rows.tile((1, 48, 32)) == (1, 48, 32)


def test_a_process_with_what_another_found_tries_nothing(tmp_path: Path):
    first, tried = tiles_of(tmp_path, {"slots": 2})
    first.tile((1, 64, 32))
    assert tried
    first._trials.save()
    second, tried = tiles_of(tmp_path, {"slots": 2})
    assert second.tile((1, 64, 32)) == (2, 64, 32)
    assert tried == []
