from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from raygen.engines.torch.memory import budget
from raygen.engines.torch.memory.budget import GIB, kv_budget, position_bytes
from raygen.errors import EngineConfigError
from raygen.limits import read_limits
from tests.fakes.tiny_llama import tiny_model

CONTEXT, ROWS = 1024, 10**6


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


def free(monkeypatch: pytest.MonkeyPatch, free_bytes: int | None) -> None:
    monkeypatch.setattr(budget, "read_limits", lambda: replace(read_limits(), free_bytes=free_bytes))


def taken_bytes(model: Any) -> float:
    positions, blocks = kv_budget(model, CONTEXT, ROWS, None, 0.125, "m")
    return (positions + blocks * budget.BLOCK) * position_bytes(model)


@pytest.mark.parametrize(("free_gib", "taken_gib"), [(2, 0.5), (100, 4), (None, 1)])
def test_a_cpu_gives_a_quarter_of_what_is_free_and_four_gib_at_most(
    model: Any, monkeypatch: pytest.MonkeyPatch, free_gib: int | None, taken_gib: float
):
    free(monkeypatch, None if free_gib is None else free_gib * GIB)
    assert taken_bytes(model) / GIB == pytest.approx(taken_gib, rel=0.01)


def test_a_container_without_room_is_told_what_would_fit(model: Any, monkeypatch: pytest.MonkeyPatch):
    free(monkeypatch, 100 * position_bytes(model))
    with pytest.raises(EngineConfigError, match=r"model 'm': .* of 1,024 tokens need .*at most \d+ fit"):
        kv_budget(model, CONTEXT, ROWS, None, 0.125, "m")
