"""Gradients of one worker and of several: the same numbers, kept in two ways."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raygen.train.loop.gradients import FlatGradients, Gradients, OwnGradients, make_gradients
from raygen.train.loop.ranks import Ranks


class Alone(Ranks):
    """Several workers, of which the others have nothing."""

    def __init__(self) -> None:
        super().__init__(0, 2)

    def sum(self, tensor: torch.Tensor) -> None:
        pass


def weights() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(4))]


def backward(found: list[nn.Parameter], factor: float) -> None:
    used, bias, _ = found  # the last one is never used
    (factor * (torch.ones(5, 3) @ used + bias)).pow(2).sum().backward()


@pytest.mark.parametrize("ranks", [Ranks(), Alone()])
def test_both_kinds_hold_the_sum_of_a_steps_backward_passes(ranks: Ranks) -> None:
    mine = weights()
    gradients = make_gradients(mine, ranks)
    assert isinstance(gradients, OwnGradients if ranks.world == 1 else FlatGradients)
    for _ in range(2):  # the second step knows nothing of the first
        gradients.clear()
        backward(mine, 1.0)
        backward(mine, 2.0)
        assert gradients.sum(3.5, True) == (3.5, True)
    wanted = weights()
    backward(wanted, 5**0.5)  # the square of the factors' sum
    for one, other in zip(mine[:2], wanted[:2], strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert torch.equal(mine[2].grad, torch.zeros(4))
    length = torch.cat([weight.grad.flatten() for weight in mine]).norm().item()
    assert gradients.norm() == pytest.approx(length)
    gradients.scale(0.5)
    assert gradients.norm() == pytest.approx(length / 2)
    torch.testing.assert_close(mine[0].grad, wanted[0].grad / 2)


@pytest.mark.parametrize("make", [OwnGradients, lambda found: FlatGradients(found, Alone())])
def test_a_weight_that_nothing_used_decays_all_the_same(make: type[Gradients]) -> None:
    mine = weights()
    gradients = make(mine)
    optimizer = torch.optim.AdamW(mine, lr=0.1, weight_decay=0.5)
    before = mine[2].detach().clone()
    gradients.clear()
    backward(mine, 1.0)
    gradients.sum(0.0, False)
    optimizer.step()
    torch.testing.assert_close(mine[2].detach(), before * 0.95)
