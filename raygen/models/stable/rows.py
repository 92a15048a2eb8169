"""Stable rows: a model's layers made to give a row the same bits however many rows there are."""

from __future__ import annotations

from typing import Any

from raygen.models.stable.products import StableProducts
from raygen.models.stable.whole_shares import stabilise_activations


def stabilise_rows(model: Any, products: StableProducts) -> None:
    """Change a model's linear layers and activation functions on a CPU in place; its numbers stay what they are, up to rounding.

    Call it on the thread that will compute, and run the model within `products.watching()`.
    """
    products.stabilise(model)
    if next(model.parameters()).device.type == "cpu":
        stabilise_activations(model)
