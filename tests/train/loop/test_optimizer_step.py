"""A step beside plain PyTorch: the gradient of the mean over all its targets, however they are cut into blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raygen.train.families.text_units import IGNORED
from raygen.train.loop.optimizer_step import Stepper
from raygen.train.loop.ranks import Ranks
from tests.train.in_memory import InMemory, llama, questions, recipe_of, trainer_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("clip", [None, 0.01])
def test_a_step_goes_down_the_gradient_of_its_mean_loss(tmp_path: Path, clip: float | None) -> None:
    sgd = {"name": "sgd", "learning_rate": 0.1, "momentum": 0, "weight_decay": 0, "clip_norm": clip}
    recipe = recipe_of(llama(tmp_path), optimizer=sgd, schedule={"kind": "constant", "warmup": 0})
    trainer = trainer_of(recipe)
    blocks = InMemory(recipe, trainer, train=questions(12)).tables["train"]
    targets = sum(
        target != IGNORED for block in blocks for row in block["targets"].to_pylist() for target in row
    )
    assert len(blocks) > 1

    plain = trainer.load_model(CPU)
    loss = sum(trainer.loss(plain, trainer.collate(block, CPU)) for block in blocks) / targets
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), clip or torch.inf)
    torch.optim.SGD(plain.parameters(), lr=0.1).step()

    model = trainer.load_model(CPU)
    stepper = Stepper(recipe, trainer, model, Ranks(), CPU, total=1)
    found = stepper.step((0, 0), 0, iter(blocks), range(len(blocks)), targets).main
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert found.grad_norm == pytest.approx(norm.item(), rel=1e-4)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
