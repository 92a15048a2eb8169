"""An average of the weights: evaluated, saved and checkpointed as the model; the same after a kill and for two workers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raygen.storage import LocalStore
from raygen.train.loop.average import Average, decay_at
from raygen.train.loop.checkpoint import complete_steps, latest, read
from raygen.train.recipe import Ema
from tests.train.in_memory import bert, labelled
from tests.train.loop.test_part import kill_at, of_two_workers, ring, trained
from tests.train.loop.test_training import losses, run


def test_the_average_follows_the_weights_and_swaps_places_with_them() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    average = Average({"w": weight}, Ema(decay=0.75, warmup=0))
    with torch.no_grad():
        weight += 4
    average.update(1)
    assert average.tensors["w"].tolist() == [2.0, 3.0]
    with average.in_place():
        assert weight.tolist() == [2.0, 3.0]
    assert weight.tolist() == [5.0, 6.0]
    assert average.tensors["w"].tolist() == [2.0, 3.0]


def test_the_first_steps_keep_less() -> None:
    found = [decay_at(step, Ema(decay=0.99, warmup=10)) for step in range(1, 2000)]
    assert found == sorted(found)
    assert (round(found[0], 3), found[-1]) == (0.182, 0.99)
    assert decay_at(1, Ema(decay=0.99, warmup=0)) == 0.99


def test_the_average_is_what_is_evaluated_checkpointed_and_saved(tmp_path: Path) -> None:
    recipe = ring(ema={"decay": 0.9})
    plain, _ = trained(ring(), tmp_path / "plain")
    averaged, training = trained(recipe, tmp_path / "run")
    assert averaged == plain  # the weights themselves learn as ever
    kept = latest(LocalStore(tmp_path / "run"))
    assert kept is not None
    assert kept.average is not None
    saved = load_file(tmp_path / "run" / "model" / "ring.safetensors")
    best = training.best.step
    assert best is not None
    chosen = read(LocalStore(tmp_path / "run"), best)
    assert chosen.average is not None
    for name, tensor in saved.items():
        assert torch.equal(tensor, chosen.average[name])
        assert not torch.equal(tensor, chosen.weights[name])


def test_a_classifier_of_averaged_weights_ends_alike_after_a_kill(tmp_path: Path) -> None:
    recipe = labelled(
        bert(tmp_path / "base"),
        ema={"decay": 0.8},
        epochs=6,
        evaluation={"every_steps": 3},
        checkpoints={"every_steps": 4},
    )
    records, finished = run(recipe, tmp_path / "straight")
    asked = iter([False] * 5)
    with pytest.raises(Exception, match="stopped after step 6 of"):
        run(recipe, tmp_path / "killed", stopping=lambda: next(asked, True))
    assert 6 in complete_steps(LocalStore(tmp_path / "killed"))
    rest, again = run(recipe, tmp_path / "killed")
    assert losses(rest) == {step: loss for step, loss in losses(records).items() if step > 6}
    said = [each for each in records if "split" in each and each["step"] > 6]
    assert [each for each in rest if "split" in each] == said
    assert again == finished
    off, _ = run(recipe.model_copy(update={"ema": None}), tmp_path / "off")
    assert losses(off) == losses(records)
    assert [each["metrics"] for each in off if "split" in each] != [
        each["metrics"] for each in records if "split" in each
    ]


def test_killed_the_average_goes_on_as_it_was(tmp_path: Path) -> None:
    recipe = ring(ema={"decay": 0.9})
    _, whole = trained(recipe, tmp_path / "straight")
    kill_at(recipe, tmp_path / "killed", 7)
    _, again = trained(recipe, tmp_path / "killed")
    for name, weight in whole.model.named_parameters():  # which now has the average
        assert torch.equal(dict(again.model.named_parameters())[name], weight)


def test_two_workers_have_the_average_of_one(tmp_path: Path) -> None:
    recipe = ring(ema={"decay": 0.9})
    _, alone = trained(recipe, tmp_path / "one")
    of_two_workers(recipe, tmp_path / "two")
    saved = load_file(tmp_path / "two" / "model" / "ring.safetensors")
    for name, weight in alone.model.named_parameters():
        torch.testing.assert_close(saved[name], weight.detach(), rtol=1e-3, atol=1e-4)
