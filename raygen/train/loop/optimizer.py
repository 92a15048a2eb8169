"""Optimizer: groups of weights with and without decay, the learning rate of every step, and the state as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from raygen.train import recipe as recipes


def make_optimizer(weights: Mapping[str, nn.Parameter], config: recipes.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer of these weights; matrices decay, biases and norms do not."""
    matrices = [weight for weight in weights.values() if weight.dim() >= 2]
    vectors = [weight for weight in weights.values() if weight.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)


def rate_at(step: int, total: int, schedule: recipes.Schedule, learning_rate: float) -> float:
    """Return the learning rate of a step.

    Args:
        step: from 0 to `total` - 1.

    >>> [rate_at(step, 5, recipes.Schedule(warmup=0.4), 1.0) for step in range(5)]
    [0.5, 1.0, 1.0, 0.6666666666666667, 0.33333333333333337]
    """
    warmup = round(schedule.warmup * total)
    if step < warmup:
        return learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    share = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
    left = share[schedule.kind]
    return learning_rate * (left + (1 - left) * schedule.floor)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all weights."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def state_tensors(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Return the optimizer's state as named tensors: `exp_avg/<weight>` and so on."""
    found = {}
    for name, weight in weights.items():
        for key, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, torch.Tensor):
                found[f"{key}/{name}"] = value
    return found


def load_state(
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put back what `state_tensors` returned; keeps copies on each weight's device."""
    optimizer.state.clear()
    for full, tensor in tensors.items():
        key, _, name = full.partition("/")
        weight = weights[name]
        optimizer.state[weight][key] = tensor.clone().to(weight.device)
