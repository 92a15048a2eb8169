"""Phases: each with an optimizer, a schedule and a clipping of its own, in its turn; the same curve after any kill."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.errors import ConfigError
from raygen.storage import LocalStore
from raygen.train.families.base import Phase
from raygen.train.loop.checkpoint import complete_steps, read
from raygen.train.loop.context import Context
from raygen.train.loop.optimizer import rate_at
from raygen.train.loop.part import make_parts
from raygen.train.loop.ranks import Ranks
from raygen.train.loop.training import Training
from raygen.train.recipe import Recipe
from tests.train.in_memory import InMemory, child
from tests.train.ring import RingTrainer

RING = "tests.train.ring:Ring"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ring(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": "ring",
        "family": RING,
        "base": "none",
        "source": {"format": "jsonl", "uri": "points.jsonl"},
        "objective": {"x": "east", "y": "north"},
        "optimizer": {"learning_rate": 0.02, "weight_decay": 0.0},
        "epochs": 6,
        "evaluation": {"every_steps": 4},
        "checkpoints": {"every_steps": 5},
        "seed": 1,
    }
    return Recipe.model_validate(settings | changes)


def points(count: int) -> list[dict[str, float]]:
    turns = [2 * math.pi * n / count for n in range(count)]
    return [{"east": math.cos(turn), "north": math.sin(turn)} for turn in turns]


def trained(
    recipe: Recipe, folder: Path, trainer: type[RingTrainer] = RingTrainer, **context: Any
) -> tuple[list[dict[str, Any]], Training]:
    """Train in this process; return the records of steps, and the training."""
    made = trainer(recipe, Path("none"))
    data = InMemory(recipe, made, train=points(96), validation=points(12))
    records: list[dict[str, Any]] = []
    where = Context(LocalStore(folder), data.feed, **{"board": records.append} | context)
    training = Training(recipe, made, data.blocks, where)
    training.run()
    return [{**record, "seconds": 0} for record in records if "split" not in record], training


def die_at(recipe_json: str, folder: Path, step: int) -> None:
    torch.set_num_threads(1)

    def board(record: dict[str, Any]) -> None:
        if record["step"] == step and "split" not in record:
            os.kill(os.getpid(), signal.SIGKILL)

    trained(Recipe.model_validate_json(recipe_json), folder, board=board)


def kill_at(recipe: Recipe, folder: Path, step: int) -> int:
    """Kill a training once `step` steps are done; return the step it can go back to."""
    dying = child(die_at, recipe.model_dump_json(), folder, step)
    dying.join(120)
    assert dying.exitcode == -signal.SIGKILL
    return max(complete_steps(LocalStore(folder)))


def one_of(rank: int, world: int, port: int, recipe_json: str, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    records, _ = trained(Recipe.model_validate_json(recipe_json), folder, ranks=Ranks(rank, world))
    (folder / f"records-{rank}.json").write_text(json.dumps(records))
    torch.distributed.destroy_process_group()


def of_two_workers(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    workers = [child(one_of, rank, 2, port, recipe.model_dump_json(), folder) for rank in range(2)]
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    records: list[dict[str, Any]] = json.loads((folder / "records-0.json").read_text())
    return records


PHASES = {
    "discriminator": {"optimizer": {"name": "sgd", "learning_rate": 0.1, "clip_norm": 0.5}},
    "generator": {"schedule": {"kind": "constant", "warmup": 0}},
}


def test_each_phase_has_an_optimizer_a_schedule_and_a_clipping_of_its_own(tmp_path: Path) -> None:
    recipe = ring(phases=PHASES)
    records, training = trained(recipe, tmp_path)
    assert training.total == len(records) == 18
    for record in records:
        judge, maker = record["phases"]["discriminator"], record["phases"]["generator"]
        assert judge["learning_rate"] == rate_at(record["step"] - 1, 18, recipe.schedule, 0.1)
        assert maker["learning_rate"] == 0.02
        assert {name: record[name] for name in judge} == judge  # the first phase speaks for the step
        assert record["points"] == record["weight"] == 32
    kinds = {name.partition("/")[0] for name in read(LocalStore(tmp_path), 18).optimizer}
    assert kinds == {
        "discriminator:momentum_buffer", "generator:exp_avg", "generator:exp_avg_sq", "generator:step"
    }  # fmt: skip


def test_a_phase_may_be_taken_now_and_then(tmp_path: Path) -> None:
    class Lazy(RingTrainer):
        every = 4

    records, training = trained(ring(), tmp_path, Lazy)
    assert [record["step"] for record in records if "generator" in record["phases"]] == [1, 5, 9, 13, 17]
    assert int(training.stepper.state()["generator:step/generator.0.weight"]) == 5


def test_a_phase_changes_its_own_weights_alone(tmp_path: Path) -> None:
    still = {"generator": {"optimizer": {"learning_rate": 1e-30, "weight_decay": 0.0}}}
    _, training = trained(ring(phases=still), tmp_path)
    fresh = RingTrainer(ring(), Path("none")).load_model(torch.device("cpu"))
    for (name, before), now in zip(fresh.named_parameters(), training.model.parameters(), strict=True):
        assert torch.equal(before, now) == name.startswith("generator"), name
    assert all(weight.requires_grad for weight in training.model.parameters())


def test_points_come_nearer_to_the_ring(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    slow = {"learning_rate": 0.002, "betas": (0.5, 0.9), "weight_decay": 0.0}
    evaluation = {"every_steps": 20}
    trained(ring(epochs=60, optimizer=slow, evaluation=evaluation), tmp_path, board=said.append)
    errors = [record["metrics"]["loss"] for record in said if "split" in record]
    assert min(errors) < 0.6 * errors[0]


@pytest.mark.parametrize("changes", [{"phases": PHASES}, {"ema": {"decay": 0.9}}])
def test_after_a_kill_the_steps_are_those_of_a_training_never_killed(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = ring(**changes)
    straight, whole = trained(recipe, tmp_path / "straight")
    saved = kill_at(recipe, tmp_path / "killed", 7)
    resumed, again = trained(recipe, tmp_path / "killed")
    assert resumed == straight[saved:]
    for name, weight in whole.stepper.weights.items():
        assert torch.equal(again.stepper.weights[name], weight)


def test_two_workers_take_the_steps_of_one(tmp_path: Path) -> None:
    recipe = ring(phases=PHASES)
    alone, _ = trained(recipe, tmp_path / "one")
    both = of_two_workers(recipe, tmp_path / "two")
    for one, other in zip(alone, both, strict=True):
        for name, taken in one["phases"].items():
            assert other["phases"][name] == pytest.approx(taken, rel=1e-4), (one["step"], name)


def phases_of(*parts: Sequence[str], every: int = 1) -> list[Phase]:
    model = torch.nn.Linear(2, 2)
    weights = dict(model.named_parameters())
    named = [{name: weights[name] for name in part} for part in parts]
    phases = [Phase(f"p{n}", part, lambda model, batch: torch.zeros(())) for n, part in enumerate(named)]
    return [Phase(phases[0].name, phases[0].weights, phases[0].loss, every), *phases[1:]]


@pytest.mark.parametrize(
    ("parts", "every", "message"),
    [
        ([["weight", "bias"], ["bias"]], 1, "weight bias is of two phases: p0 and p1"),
        ([["weight"]], 1, "no phase learns weight bias"),
        ([["weight"], ["bias"]], 2, "phase p0: the first has to be taken in every step"),
    ],
)
def test_phases_share_out_the_weights(parts: list[list[str]], every: int, message: str) -> None:
    phases = phases_of(*parts, every=every)
    with pytest.raises(ValueError, match=message):
        make_parts(ring(), phases, torch.nn.Linear(2, 2), Ranks(), 1)


def test_a_recipe_that_sets_a_phase_that_is_not_there_is_refused(tmp_path: Path) -> None:
    from raygen.train.run import check_phases

    with pytest.raises(ConfigError, match=r"phases\.critic: family .* allowed: discriminator, generator"):
        check_phases(ring(phases={"critic": {}}))
    check_phases(ring(phases=PHASES))
