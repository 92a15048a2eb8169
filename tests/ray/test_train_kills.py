"""Killed workers and drivers: the same command goes on, and the losses are those of a training that nobody disturbed."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.ray import cases, trainings
from tests.ray.processes import Process, of_session, wait_until

pytestmark = pytest.mark.ray

ROUNDS = 5  # of a killed worker and a killed driver


def workers_of(session: int) -> list[Process]:
    return [each for each in of_session(session) if each.command.startswith("ray::RayTrainWorker")]


def finish(recipe: Path) -> None:
    with cases.started(cases.raygen("train", recipe, "-q")) as process:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_nothing_is_lost_when_workers_and_drivers_are_killed(tmp_path: Path) -> None:
    """At ten random steps, a worker and the driver by turns; every fifth step a checkpoint is being written."""
    (tmp_path / "calm").mkdir()
    finish(trainings.write_recipe(tmp_path / "calm", epochs=20))
    (tmp_path / "wild").mkdir()
    recipe, run = trainings.write_recipe(tmp_path / "wild", epochs=20), tmp_path / "wild" / "run"
    chance = random.Random(5)
    for number in range(ROUNDS):
        first = 60 * number + chance.randrange(5, 30)
        with cases.started(cases.raygen("train", recipe, "-q")) as process:
            for step, victim in ((first, "worker"), (first + chance.randrange(10, 30), "driver")):
                wait_until(
                    lambda step=step: max(trainings.checkpoints(run), default=0) >= step, 120, f"step {step}"
                )
                if victim == "worker":
                    chance.choice(workers_of(process.pid)).kill()
                else:
                    process.kill()
                    process.wait()
        assert not (run / "finished.json").exists()
    finish(recipe)
    calm, wild = trainings.losses(tmp_path / "calm" / "run"), trainings.losses(run)
    assert [step for step, _ in wild] == [step for step, _ in calm]
    assert max(abs(a - b) for (_, a), (_, b) in zip(calm, wild, strict=True)) < 1e-6


def test_stopping_writes_a_checkpoint(tmp_path: Path) -> None:
    recipe = trainings.write_recipe(
        tmp_path, epochs=200, checkpoints={"every_steps": 100_000}, evaluation={"every_steps": 100_000}
    )
    with cases.started(cases.raygen("train", recipe, "-q")) as process:
        wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists(), 90, "the first steps")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        wait_until(lambda: not of_session(process.pid), 10, "Ray's processes to end")
    assert process.returncode == 130, err
    assert not out
    steps = trainings.losses(tmp_path / "run")
    assert err.splitlines()[-1] == f"stopped after step {len(steps):,}. Run the same command again to resume"
    assert trainings.checkpoints(tmp_path / "run") == [len(steps)]
