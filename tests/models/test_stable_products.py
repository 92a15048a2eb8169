"""Products give a row the same bits in any company, also where the library's own do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from raygen.models import stable_products
from raygen.models.stable_products import pieces_of, stabilise_products


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    stable_products._agreeing.clear()
    yield
    torch.set_num_threads(before)
    stable_products._agreeing.clear()


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_among_any_number_of_rows(kind: str, dtype: torch.dtype) -> None:
    # The sizes of SmolLM2-135M's down projection, with which MKL adds up in another order at 64 to 192 rows.
    torch.manual_seed(1)
    layer = torch.nn.Linear(1536, 576) if kind == "linear" else Conv1D(576, 1536)
    layer = torch.nn.Sequential(layer).to(dtype)
    rows = torch.randn(784, 1536).to(dtype)
    with torch.inference_mode():
        plain = layer(rows[:16])
        stabilise_products(layer)
        alone = torch.cat([layer(rows[start : start + 16]) for start in range(0, 784, 16)])
        assert torch.equal(alone[:16], plain)
        for count in (32, 48, 64, 112, 192, 208, 512, 528, 784):
            assert torch.equal(layer(rows[:count]), alone[:count]), count
        assert layer(rows[None, :64]).shape == (1, 64, 576)


def test_a_number_of_rows_that_disagrees_is_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sly(torch.nn.Linear):
        """Rounds otherwise with 64 rows."""

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            seen.append(input.shape[:-1].numel())
            return super().forward(input) + (1e-3 if seen[-1] == 64 else 0)

    seen: list[int] = []
    model = torch.nn.Sequential(Sly(8, 8))
    stabilise_products(model)
    with torch.inference_mode():
        model(torch.randn(64, 8))
        seen.clear()
        model(torch.randn(64, 8))
        assert seen == [48, 16]
        seen.clear()
        model(torch.randn(5, 8))  # what is filled up by nobody is left alone
        assert seen == [5]


def test_pieces_are_few_and_agree() -> None:
    def bad(rows: int) -> bool:
        return 64 <= rows <= 192

    def agrees(rows: int) -> bool:
        return not bad(rows)

    assert pieces_of(48, agrees) == [48]
    assert pieces_of(192, agrees) == [48] * 4
    assert pieces_of(256, agrees) == [256]
    assert pieces_of(240, lambda rows: True) == [240]
    assert pieces_of(1000, agrees) == [512, 480, 8]
    assert pieces_of(700, agrees) == [512, 48, 48, 48, 32, 12]
    assert pieces_of(16, lambda rows: False) == [16]
    assert pieces_of(0, agrees) == []
    for rows in range(16, 900, 16):
        assert sum(pieces_of(rows, agrees)) == rows
        assert not any(bad(piece) for piece in pieces_of(rows, agrees))
