"""Status of trainings and sweeps, from their directories: while they run, after they died, when they are finished."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.errors import InterruptedRunError
from raygen.runs.session import read_sessions
from raygen.storage import LocalStore, Store
from raygen.storage.sealed import seal
from raygen.train.driver import session as sessions
from raygen.train.driver.claim import RECIPE_KEY, claim
from raygen.train.driver.session import TrainSession, at_work, session
from raygen.train.driver.status import BEST_KEY, read_train_status, train_status_lines
from raygen.train.loop.checkpoint import STATE, Snapshot, folder_of, write
from raygen.train.loop.records import FINISHED_KEY, MetricsLog

Cli = Callable[..., Any]


def begin(store: Store, **identity: Any) -> None:
    claim(store, RECIPE_KEY, "case", identity, recipe={"evaluation": {"metric": "macro_f1"}})


def log(store: Store, steps: int) -> None:
    records: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        records.append(
            {
                "step": step,
                "epoch": step // 10,
                "loss": 1 / step,
                "learning_rate": 1e-4,
                "tokens": 500,
                "seconds": 0.5,
            }
        )
        if step % 10 == 0:
            metrics = {"loss": 0.5, "macro_f1": 0.8, "f1_yes": 0.1}
            records.append({"step": step, "split": "validation", "metrics": metrics})
    kept = MetricsLog(store)
    kept.add(records)
    kept.flush(now=True)


def save(store: Store, step: int, best: int, value: float) -> None:
    state = {"total": 40, "best": {"step": best, "value": value, "since": 0}}
    write(store, Snapshot(step, {"w": torch.zeros(2)}, {}, state, value))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "run")


def test_a_training_that_runs(store: Store) -> None:
    begin(store)
    with session(store) as current:
        assert read_train_status(store).state == "preparing"
        current.begin(store, 40)
        log(store, 24)
        save(store, 20, 10, 0.83)
        current.step = 25
        current.write(store)
        found = read_train_status(store)
    assert (found.state, found.step, found.total, found.epoch) == ("running", 25, 40, 2)
    assert found.speed == 1000
    assert found.eta_s == pytest.approx(7.5)
    assert (found.checkpoints, found.best_step, found.best) == ([20], 10, 0.83)
    lines = train_status_lines(found)
    assert lines[0] == f"case: running  ({store.uri})"
    assert "  steps       25 of 40, epoch 3, loss 0.08" in lines[1]
    assert "  speed       1,000 tokens/s in steps, ETA 8 s" in lines
    assert "  validation  loss 0.5, macro_f1 0.8 at step 20" in lines
    assert "  best        macro_f1 0.83 at step 10" in lines
    assert "  checkpoint  step 20" in lines


def test_one_that_was_killed_and_one_that_failed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(store)
    assert read_train_status(store).state == "claimed"
    log(store, 24)
    save(store, 10, 10, 0.8)
    save(store, 20, 10, 0.8)
    store.put(folder_of(20) + STATE, b"{}")  # not what was written: of it nothing is told
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    TrainSession(pid=gone.pid, phase="training", step=24, total=40).write(store)
    found = read_train_status(store)
    assert (found.state, found.step, found.total, found.eta_s, found.note) == (
        "interrupted",
        24,
        40,
        None,
        None,
    )
    assert train_status_lines(found)[-1] == "  run the same command again to resume"
    with pytest.raises(InterruptedRunError), session(store):
        raise InterruptedRunError("the disk\nis full")
    found = read_train_status(store)
    assert (found.state, found.sessions, found.note) == ("interrupted", 2, "the disk is full")


def test_a_session_beats_and_forgives_a_broken_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "BEAT_S", 0.01)
    with session(store) as current:
        current.step = 7
        while not (found := read_sessions(store, TrainSession)) or found[0].step != 7:
            pass
        assert (found[0].state, found[0].pid) == ("running", os.getpid())
        other = at_work(read_sessions(store, TrainSession))
        assert other is not None
        assert other.id == current.id
        store.put("progress/0.json", b"{}")
    assert [each.state for each in read_sessions(store, TrainSession)] == ["interrupted"]
    assert at_work(read_sessions(store, TrainSession)) is None


def test_a_finished_one_by_the_command(store: Store, cli: Cli) -> None:
    begin(store)
    log(store, 24)
    save(store, 24, 10, 0.8)
    with session(store) as current:
        current.state = "finished"
    evaluated = {"test": {"metrics": {"accuracy": 0.5, "macro_f1": None}, "details": {}, "worst": []}}
    store.put(FINISHED_KEY, seal({"steps": 24, "kept_step": 10, "evaluated": evaluated, "model": "model"}))
    done = cli("status", store.uri)
    assert done.code == 0, done.err
    assert done.out.splitlines()[:2] == [
        f"case: finished  ({store.uri})",
        "  steps       24, epoch 3, loss 0.08463",
    ]
    assert "  test        accuracy 0.5, macro_f1 -\n" in done.out
    assert f"  model       {store.uri}/model\n" in done.out
    assert "resume" not in done.out
    assert '"kept_step": 10' in cli("status", store.uri, "--json").out
    assert "no run here" in cli("status", store.uri_of("model")).err


def test_a_sweep_tells_of_its_trials(store: Store) -> None:
    begin(store, sweep={"trials": 3})
    assert read_train_status(store).state == "claimed"
    for number, step in enumerate((24, 10)):
        trial = store.child(f"trials/{number}")
        begin(trial)
        log(trial, step)
        save(trial, step, 10, 0.8)
    trial = store.child("trials/0")
    trial.put(FINISHED_KEY, seal({"steps": 24, "kept_step": 10, "evaluated": {}, "model": "model"}))
    found = read_train_status(store)
    assert found.state == "interrupted"
    lines = train_status_lines(found)
    assert lines[1] == "  trials      2 begun, 1 ran to their end"
    assert lines[3].startswith("  trial 1: interrupted, 10 of 40, epoch 2")
    store.put(BEST_KEY, b"name: case")
    lines = train_status_lines(read_train_status(store))
    assert lines[0].startswith("case: finished")
    assert lines[-1].startswith("  trial 1: stopped early, 10 of 40, epoch 2")
    assert lines[-1].endswith("macro_f1 0.8 at step 10")


def test_status_loads_no_torch() -> None:
    code = "import sys, raygen.train.driver.status; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
