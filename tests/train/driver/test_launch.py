"""Starting again: what is worth another attempt, and what comes out of the driver as it was raised."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from raygen.cluster.connect import Capacity
from raygen.engines.worker import OPENMP
from raygen.errors import ConfigError, TrainingError
from raygen.train.driver.launch import MOST_LOSSES, SPIN, Restarts, _judge, openmp, width
from raygen.train.recipe import Recipe


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "case", "family": "causal_lm", "base": "./model", "objective": {"text": "{{ text }}"},
            "source": {"format": "parquet", "uri": "rows.parquet"}, **changes,
        }
    )  # fmt: skip


def group_error(**failures: Exception) -> WorkerGroupError:
    return WorkerGroupError("failed", {int(rank[1:]): error for rank, error in failures.items()})


def raised(error: Exception) -> UserExceptionWithTraceback:
    return UserExceptionWithTraceback(error, "Traceback ...")


DEAD = WorkerHealthCheckFailedError("A worker health check failed", ActorDiedError())


def test_workers_spin_as_a_training_needs_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in SPIN:
        monkeypatch.delenv(name, raising=False)
    assert openmp() == SPIN
    for name, value in OPENMP.items():  # an engine has run in this process
        monkeypatch.setenv(name, value)
    assert openmp() == SPIN
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert openmp() == {**SPIN, "GOMP_SPINCOUNT": "7"}


def test_losses_are_borne_as_long_as_the_training_gets_further() -> None:
    restarts = Restarts()
    assert all(restarts.again(step) for step in range(0, 1000, 10))
    for _ in range(MOST_LOSSES - 1):
        assert restarts.again(990)
    assert not restarts.again(990)


def test_a_training_that_never_begins_is_given_up() -> None:
    restarts = Restarts()
    assert [restarts.again(0) for _ in range(4)] == [True, True, True, False]


def test_an_error_of_ours_comes_out_as_it_is() -> None:
    loss = TrainingError("step 7: the loss is not finite")
    with pytest.raises(TrainingError, match="step 7"):
        _judge(group_error(r0=raised(RuntimeError("Connection closed by peer")), r1=raised(loss)), workers=2)
    with pytest.raises(ConfigError, match="no layers"):
        _judge(group_error(r0=raised(ConfigError("no layers"))), workers=1)


def test_a_death_is_no_error_and_its_echo_is_not_shown() -> None:
    echo = raised(RuntimeError("gloo: Connection closed by peer"))
    assert _judge(group_error(r0=echo, r1=DEAD), workers=2).startswith("worker 1: ActorDiedError: ")
    assert "Connection closed" in _judge(group_error(r0=echo), workers=2)
    assert _judge(group_error(r0=DEAD), workers=1).startswith("worker 0: ")
    assert "start" in _judge(ControllerError(RuntimeError("could not start")), workers=2)


def test_a_bug_in_every_worker_is_not_tried_again() -> None:
    bug = raised(TypeError("not a number"))
    with pytest.raises(TypeError):
        _judge(group_error(r0=bug), workers=1)
    with pytest.raises(TypeError):
        _judge(group_error(r0=bug, r1=bug), workers=2)
    assert "TypeError" in _judge(group_error(r0=bug), workers=2)


@pytest.mark.parametrize(
    ("workers", "cpus", "fixed", "found"),
    [(1, 2, True, 1), (2, 2, True, 2), ([1, 8], 2, True, 3), ([1, 8], 2, False, (1, 8)), (8, 2, False, 8)],
)
def test_as_many_workers_as_there_is_room_for(
    workers: object, cpus: float, fixed: bool, found: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raygen.train.driver.launch.capacity", lambda: Capacity(cpus, 0, fixed))
    assert width(recipe(workers=workers)) == found


def test_workers_without_room_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raygen.train.driver.launch.capacity", lambda: Capacity(2, 0, True))
    with pytest.raises(ConfigError, match=r"at least 4 .* room for 3"):
        width(recipe(workers=[4, 6]))
    with pytest.raises(ConfigError, match="0 GPUs: room for 0"):
        width(recipe(gpus_per_worker=1))
