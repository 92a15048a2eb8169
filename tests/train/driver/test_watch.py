"""The watch: what it shows while workers compute steps, and while they evaluate."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from raygen.storage import LocalStore
from raygen.train.driver import watch as watch_module
from raygen.train.driver.progress import TrainProgress
from raygen.train.driver.watch import Watch
from tests.train.in_memory import recipe_of


def step(number: int) -> dict[str, Any]:
    return {"step": number, "epoch": 0, "loss": 1.0, "learning_rate": 1e-3, "tokens": 90, "seconds": 3.0}


def watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]], **recipe: Any
) -> tuple[Watch, Any, list[TrainProgress], list[str]]:
    """A watch, its board, which says what `said` holds, and what is shown and said to people."""
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    shown: list[TrainProgress] = []
    lines: list[str] = []
    screen: Any = SimpleNamespace(update=shown.append, say=lines.append, close=list)
    watch = Watch(recipe_of(Path("base"), **recipe), LocalStore(tmp_path), 5, False, screen)
    board = SimpleNamespace(
        read=SimpleNamespace(remote=lambda since, stopping: (list(said), since + len(said)))
    )
    return watch, board, shown, lines


@pytest.mark.parametrize(("said", "at_once"), [([], True), ([step(1)], False)])
def test_workers_are_left_at_once_when_there_is_nothing_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]], at_once: bool
) -> None:
    watch, board, _, lines = watched(tmp_path, monkeypatch, said)
    with watch.session(board):
        watch.tick(0)
        assert not watch.left()
        signal.raise_signal(signal.SIGINT)
        assert watch.stopping
        assert watch.left() is at_once
        assert ("before a step" in lines[0]) is at_once
        signal.raise_signal(signal.SIGINT)
        assert watch.left()


def test_an_evaluation_is_said_and_slows_no_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(watch_module.time, "monotonic", lambda: now_s)
    watch, watch._board, shown, _ = watched(tmp_path, monkeypatch, said, evaluation={"every_steps": 2})
    evaluation = {"step": 2, "split": "validation", "metrics": {"loss": 1.0}}
    records: tuple[list[dict[str, Any]], ...] = (
        [step(1)],
        [step(2)],
        [],
        [evaluation],
        [step(3)],
        [step(4), step(5)],
    )
    for said[:] in records:
        watch.tick(0)
        now_s += 60
    assert [each.evaluating for each in shown] == [False, True, True, False, False, True]
    assert {each.speed for each in shown} == {30}
    assert shown[4].eta_s == pytest.approx(2 * 120)  # two steps in four minutes, an evaluation between them
