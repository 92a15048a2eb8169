"""The loop: the same losses after any kill and for any number of workers; evaluation, patience, and how it stops."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raygen.errors import InterruptedRunError, RunConflictError, TrainingError
from raygen.models.text.encoder import load_classifier
from raygen.storage import LocalStore
from raygen.storage.sealed import read_sealed
from raygen.train.families.base import Trainer
from raygen.train.families.causal_lm import CausalLMTrainer
from raygen.train.loop.checkpoint import complete_steps, read
from raygen.train.loop.context import Context
from raygen.train.loop.optimizer import rate_at
from raygen.train.loop.optimizer_step import micro_seed
from raygen.train.loop.order import steps_of
from raygen.train.loop.ranks import Ranks
from raygen.train.loop.records import FINISHED_KEY
from raygen.train.loop.training import Training
from raygen.train.recipe import Recipe
from tests.train.in_memory import (
    InMemory,
    bert,
    child,
    labelled,
    llama,
    pairs,
    questions,
    recipe_of,
    trainer_of,
)

DROPOUT: dict[str, Any] = {"dropout": 0.2}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums round alike only over as many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("bert"))


def data_of(recipe: Recipe, trainer: Trainer, train: int = 60) -> InMemory:
    rows = questions if recipe.family == "causal_lm" else pairs
    return InMemory(recipe, trainer, train=rows(train), validation=rows(12), test=rows(9))


def run(
    recipe: Recipe, folder: Path, data: InMemory | None = None, **context: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train in this process; return the posted records and what finished.json says."""
    trainer = trainer_of(recipe)
    data = data or data_of(recipe, trainer)
    records: list[dict[str, Any]] = []
    where = Context(LocalStore(folder), data.feed, **{"board": records.append} | context)
    return records, Training(recipe, trainer, data.blocks, where).run()


def losses(records: list[dict[str, Any]]) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in records if "split" not in record}


def die_at(recipe_json: str, folder: Path, step: int) -> None:
    """Train, and die by SIGKILL once `step` steps are done."""
    torch.set_num_threads(1)
    recipe = Recipe.model_validate_json(recipe_json)
    trainer = trainer_of(recipe)
    data = data_of(recipe, trainer)

    def board(record: dict[str, Any]) -> None:
        if record["step"] == step and "split" not in record:
            os.kill(os.getpid(), signal.SIGKILL)

    Training(recipe, trainer, data.blocks, Context(LocalStore(folder), data.feed, board=board)).run()


@pytest.mark.parametrize("kind", ["causal_lm", "classifier", "lora"])
def test_after_a_kill_the_losses_are_those_of_a_training_never_killed(
    kind: str, decoder: Path, encoder: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        **DROPOUT,
        "max_steps": 12,
        "epochs": 9,
        "checkpoints": {"every_steps": 5},
        "evaluation": {"every_steps": 4},
    }
    if kind == "lora":
        settings["trained"] = {"lora": {"rank": 4, "dropout": 0.2}}
    recipe = labelled(encoder, **settings) if kind == "classifier" else recipe_of(decoder, **settings)
    straight, finished = run(recipe, tmp_path / "straight")
    dying = child(die_at, recipe.model_dump_json(), tmp_path / "killed", 7)
    dying.join(120)
    assert dying.exitcode == -signal.SIGKILL
    saved = max(complete_steps(LocalStore(tmp_path / "killed")))
    assert saved in (4, 5)
    resumed, again = run(recipe, tmp_path / "killed")
    whole, rest = losses(straight), losses(resumed)
    assert list(whole) == list(range(1, 13))
    assert list(rest) == list(range(saved + 1, 13))
    assert all(abs(rest[step] - whole[step]) <= 1e-6 for step in rest)
    assert again["evaluated"]["test"]["metrics"] == pytest.approx(finished["evaluated"]["test"]["metrics"])
    assert again["kept_step"] == finished["kept_step"]


def test_every_block_has_dropout_of_its_own_and_it_is_the_same_again(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    loss = CausalLMTrainer.loss

    def seen(trainer: CausalLMTrainer, *arguments: Any) -> torch.Tensor:
        seeds.append(torch.initial_seed())
        return loss(trainer, *arguments)

    monkeypatch.setattr(CausalLMTrainer, "loss", seen)
    recipe = recipe_of(decoder, **DROPOUT)
    run(recipe, tmp_path / "once")
    once, seeds[:] = list(seeds), []
    run(recipe, tmp_path / "again")
    assert len(set(once)) == len(once) > len(_steps(recipe, data_of(recipe, trainer_of(recipe)))) * 2
    assert seeds == once


def one_of(rank: int, world: int, port: int, recipe_json: str, folder: Path, stop_at: int) -> None:
    """Be one worker of several; the last of them asks to stop."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    recipe = Recipe.model_validate_json(recipe_json)
    records: list[dict[str, Any]] = []
    asked = itertools.count(1)
    where: dict[str, Any] = {"ranks": Ranks(rank, world), "board": records.append}
    if rank == world - 1:
        where["stopping"] = lambda: next(asked) >= stop_at
    with pytest.raises(InterruptedRunError, match=f"stopped after step {stop_at} "):
        run(recipe, folder, **where)
    (folder / f"records-{rank}.json").write_text(json.dumps(records))
    torch.distributed.destroy_process_group()


def test_two_workers_learn_what_one_does_and_one_goes_on_for_them(decoder: Path, tmp_path: Path) -> None:
    """With steps of an odd number of blocks, and dropout."""
    recipe = recipe_of(
        decoder,
        **DROPOUT,
        batch={"tokens": 160, "micro_tokens": 48, "max_tokens": 32},
        optimizer={"learning_rate": 5e-4},  # a higher one makes rounding grow
    )
    data = data_of(recipe, trainer_of(recipe))
    assert any(len(each) % 2 for each in _steps(recipe, data)[:5])
    alone, finished = run(recipe, tmp_path / "one", data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "two"
    folder.mkdir()
    workers = [child(one_of, rank, 2, port, recipe.model_dump_json(), folder, 5) for rank in range(2)]
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    first, second = (json.loads((folder / f"records-{rank}.json").read_text()) for rank in range(2))
    assert second == []  # the first worker speaks
    rest, found = run(recipe, folder)
    expected, both = losses(alone), losses(first) | losses(rest)
    assert list(losses(first)) == [1, 2, 3, 4, 5]
    assert list(both) == list(expected)
    assert max(abs(both[step] - expected[step]) for step in both) <= 1e-5
    assert found["evaluated"]["validation"]["metrics"]["loss"] == pytest.approx(
        finished["evaluated"]["validation"]["metrics"]["loss"], abs=1e-5
    )


def _steps(recipe: Recipe, data: InMemory) -> list[list[int]]:
    return steps_of(data.blocks["train"], recipe.seed, 0, recipe.batch.tokens)


def test_every_row_is_learnt_from_once_an_epoch_and_the_steps_are_reported(
    decoder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(decoder)
    trainer = trainer_of(recipe)
    data = data_of(recipe, trainer)
    seen: list[int] = []
    data.watch = lambda split, number: seen.append(number) if split == "train" else None
    records, finished = run(recipe, tmp_path, data)
    blocks = len(data.blocks["train"])
    assert sorted(seen[:blocks]) == sorted(seen[blocks:]) == list(range(blocks))
    assert seen[:blocks] != seen[blocks:]
    steps = [record for record in records if "split" not in record]
    assert [record["step"] for record in steps] == list(range(1, finished["steps"] + 1))
    assert sum(record["weight"] for record in steps) == 2 * sum(b.weight for b in data.blocks["train"])
    assert steps[0]["learning_rate"] == rate_at(0, len(steps), recipe.schedule, 5e-3)
    assert {"epoch", "grad_norm", "tokens", "seconds"} <= set(steps[0])
    assert steps[-1]["loss"] < steps[0]["loss"] / 2
    assert [record["split"] for record in records if "split" in record] == ["validation"]


def test_the_best_step_is_kept_and_patience_ends_a_training(encoder: Path, tmp_path: Path) -> None:
    """A learning rate that soon destroys what was learnt."""
    recipe = labelled(
        encoder,
        optimizer={"learning_rate": 0.3, "name": "sgd", "clip_norm": None},
        schedule={"kind": "constant", "warmup": 0},
        epochs=30,
        evaluation={"every_steps": 2, "patience": 2, "metric": "loss"},
        checkpoints={"every_steps": 100, "keep": 1},
    )
    records, finished = run(recipe, tmp_path)
    values = {record["step"]: record["metrics"]["loss"] for record in records if "split" in record}
    best = min(values, key=lambda step: values[step])
    assert finished["kept_step"] == best
    assert finished["steps"] == max(values) == best + 4
    store = LocalStore(tmp_path)
    assert set(complete_steps(store)) == {best}
    uncalibrated = finished["evaluated"]["validation"]["details"]["uncalibrated"]
    assert uncalibrated["loss"] == pytest.approx(values[best])
    # Once more, from the checkpoint: the same steps, the same end.
    again, repeated = run(recipe, tmp_path)
    assert losses(again) == pytest.approx({s: v for s, v in losses(records).items() if s > best})
    assert repeated["kept_step"] == best


def test_the_saved_classifier_is_the_calibrated_one(encoder: Path, tmp_path: Path) -> None:
    recipe = labelled(encoder, epochs=3)
    trainer = trainer_of(recipe)
    data = data_of(recipe, trainer)
    _, finished = run(recipe, tmp_path, data)
    assert finished["model"] == "model"
    assert finished == read_sealed(LocalStore(tmp_path), FINISHED_KEY)
    loaded = load_classifier(str(tmp_path / "model"), "float32", "cpu")
    rows = pairs(9)
    tokens = [loaded.encode((row["a"], row["b"]), None) for row in rows]
    logits = np.concatenate([loaded.run([each], len(each["input_ids"])) for each in tokens]).astype(float)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    loss = -logs[np.arange(9), [row["label"] for row in rows]].mean()
    assert loss == pytest.approx(finished["evaluated"]["test"]["metrics"]["loss"], rel=1e-3)
    assert finished["temperature"] != 1


def test_stopping_saves_and_the_next_call_goes_on(decoder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(decoder, **DROPOUT)
    straight, _ = run(recipe, tmp_path / "straight")
    asked = iter([False, False, True])
    with pytest.raises(InterruptedRunError, match="stopped after step 3 of"):
        run(recipe, tmp_path / "stopped", stopping=lambda: next(asked))
    assert set(complete_steps(LocalStore(tmp_path / "stopped"))) == {3}
    rest, _ = run(recipe, tmp_path / "stopped")
    assert losses(rest) == {step: loss for step, loss in losses(straight).items() if step > 3}


def test_a_loss_that_is_not_finite_names_its_rows_and_changes_nothing(decoder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(decoder, checkpoints={"every_steps": 1})
    trainer = trainer_of(recipe)
    data = data_of(recipe, trainer)
    place = _steps(recipe, data)[2][0]
    poisoned = [row for rows in data.tables["train"][place].column("row_ids").to_pylist() for row in rows]
    training = Training(recipe, trainer, data.blocks, Context(LocalStore(tmp_path), data.feed))
    loss, collate = trainer.loss, trainer.collate

    def marked(block: Any, device: torch.device) -> dict[str, torch.Tensor]:
        return {**collate(block, device), "bad": torch.tensor(block is data.tables["train"][place])}

    def poison(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        bad = batch.pop("bad")
        return loss(model, batch) * (float("nan") if bad else 1.0)

    trainer.collate, trainer.loss = marked, poison  # type: ignore[method-assign]
    with pytest.raises(TrainingError) as refused:
        training.run()
    assert "the loss is not finite at epoch 0, step 2" in str(refused.value)
    named = str(refused.value).split("rows of the batch: ")[1].split(" and ")[0].split(".")[0]
    assert set(named.split(", ")) <= set(poisoned)
    store = LocalStore(tmp_path)
    assert max(complete_steps(store)) == 2
    kept = read(store, 2).weights
    now = training.stepper.weights
    assert all(torch.equal(kept[name], weight) for name, weight in now.items())


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), None]
)
def test_out_of_memory_names_the_knob(decoder: Path, tmp_path: Path, error: Exception | None) -> None:
    recipe = recipe_of(decoder)
    trainer = trainer_of(recipe)

    def fail(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        raise error or torch.OutOfMemoryError("CUDA out of memory")

    data = data_of(recipe, trainer)
    training = Training(recipe, trainer, data.blocks, Context(LocalStore(tmp_path), data.feed))
    trainer.loss = fail  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"out of memory at epoch 0, step 0.*batch\.micro_tokens \(64\)"):
        training.run()


def test_other_errors_stay_what_they_are(decoder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(decoder)
    trainer = trainer_of(recipe)
    data = data_of(recipe, trainer)
    training = Training(recipe, trainer, data.blocks, Context(LocalStore(tmp_path), data.feed))

    def fail(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        raise RuntimeError("shapes differ")

    trainer.loss = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shapes differ"):
        training.run()


def test_a_checkpoint_of_another_recipe_is_refused(decoder: Path, tmp_path: Path) -> None:
    run(recipe_of(decoder, max_steps=2), tmp_path)
    with pytest.raises(RunConflictError, match="of another recipe"):
        run(recipe_of(decoder, max_steps=3), tmp_path)


def test_bfloat16_learns_as_well_and_keeps_float32_weights(decoder: Path, tmp_path: Path) -> None:
    records, _ = run(recipe_of(decoder, precision="bfloat16"), tmp_path)
    values = list(losses(records).values())
    assert values[-1] < values[0] / 2
    step = max(complete_steps(LocalStore(tmp_path)))
    assert all(tensor.dtype == torch.float32 for tensor in read(LocalStore(tmp_path), step).weights.values())


def test_micro_batches_have_seeds_of_their_own() -> None:
    places = [
        (seed, epoch, step, n) for seed in (0, 1) for epoch in (0, 1) for step in (0, 11) for n in (0, 1)
    ]
    seeds = {micro_seed(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
