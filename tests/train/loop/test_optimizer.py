"""Optimizer: who decays, the learning rate of every step, state that survives as tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raygen.train.loop.optimizer import load_state, make_optimizer, rate_at, set_rate, state_tensors
from raygen.train.recipe import Optimizer, Schedule


def rates(total: int, **schedule: object) -> list[float]:
    return [rate_at(step, total, Schedule.model_validate(schedule), 2.0) for step in range(total)]


def test_learning_rates_rise_to_their_height_and_fall_to_their_floor() -> None:
    assert rates(4, kind="constant", warmup=0.5) == [1.0, 2.0, 2.0, 2.0]
    assert rates(5, kind="linear", warmup=0.2) == pytest.approx([2.0, 2.0, 1.5, 1.0, 0.5])
    assert rates(4, kind="linear", warmup=0, floor=0.5) == pytest.approx([2.0, 1.75, 1.5, 1.25])
    assert rates(4, kind="cosine", warmup=0) == pytest.approx([2.0, 1.7071068, 1.0, 0.2928932])
    assert rates(1, kind="linear") == [2.0]


def test_matrices_decay_and_vectors_do_not() -> None:
    model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    weights = dict(model.named_parameters())
    groups = make_optimizer(weights, Optimizer(weight_decay=0.1)).param_groups
    decay = {id(weight): group["weight_decay"] for group in groups for weight in group["params"]}
    assert {name: decay[id(weight)] for name, weight in weights.items()} == {
        "0.weight": 0.1, "1.weight": 0.1, "1.bias": 0.0, "2.weight": 0.0, "2.bias": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_loaded_state_goes_on_to_the_bit(name: str) -> None:
    def made() -> tuple[nn.Linear, dict[str, nn.Parameter], torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        weights = dict(model.named_parameters())
        return model, weights, make_optimizer(weights, Optimizer.model_validate({"name": name}))

    def step(model: nn.Linear, optimizer: torch.optim.Optimizer, number: int) -> None:
        set_rate(optimizer, 0.1 / (number + 1))
        optimizer.zero_grad()
        (model(torch.full((2, 5), float(number))) ** 2).sum().backward()
        optimizer.step()

    straight, weights, optimizer = made()
    for number in range(3):
        step(straight, optimizer, number)
    kept = {key: value.clone() for key, value in state_tensors(optimizer, weights).items()}
    middle = {key: value.detach().clone() for key, value in weights.items()}
    for number in range(3, 6):
        step(straight, optimizer, number)
    resumed, again, other = made()
    with torch.no_grad():
        for key, value in middle.items():
            again[key].copy_(value)
    load_state(other, again, kept)
    for number in range(3, 6):
        step(resumed, other, number)
    assert torch.equal(straight.weight, resumed.weight)
    assert torch.equal(straight.bias, resumed.bias)
