"""Sweeps: what may be varied is tried on the recipe before anything starts; draws are reproducible; the best is written."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from raygen.cluster import connect as cluster
from raygen.errors import ConfigError, InterruptedRunError, TrainingError
from raygen.storage import LocalStore
from raygen.train import sweep as sweeps
from raygen.train.driver.status import read_train_status
from raygen.train.loop.records import MetricsLog
from raygen.train.recipe import Recipe, load_recipe
from raygen.train.sweep import Trial, _best, _judged, run_sweep
from raygen.train.sweep_file import Sweep, draw, load_sweep, varied
from tests.fakes.tiny_llama import save_tiny


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "case", "family": "causal_lm", "base": "./model", "objective": {"text": "{{ text }}"},
            "source": {"format": "parquet", "uri": "rows.parquet"}, "output": str(tmp_path / "run"),
            "trained": {"lora": {"rank": 4}},
        }
    )  # fmt: skip


def load(tmp_path: Path, recipe: Recipe, **sweep: Any) -> Sweep:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    return load_sweep(path, recipe)


def test_a_sweep_is_read_and_drawn_alike(tmp_path: Path, recipe: Recipe) -> None:
    parameters = {
        "optimizer.learning_rate": {"log_uniform": [1e-5, 1e-2]},
        "schedule.warmup": {"uniform": [0.0, 0.5]},
        "trained.lora.rank": {"choice": [2, 4, 8]},
    }
    sweep = load(tmp_path, recipe, parameters=parameters, trials=200, seed=3)
    found = draw(sweep)
    assert found == draw(sweep)
    assert found[:5] == draw(sweep.model_copy(update={"trials": 5}))
    assert found != draw(sweep.model_copy(update={"seed": 4}))
    rates = sorted(each["optimizer.learning_rate"] for each in found)
    assert 1e-5 <= rates[0] < 3e-5
    assert 1e-4 < rates[100] < 1e-3  # half of them below the middle of the orders of magnitude
    assert {each["trained.lora.rank"] for each in found} == {2, 4, 8}
    changed = varied(recipe, found[0], "trial 0")
    assert changed.optimizer.learning_rate == found[0]["optimizer.learning_rate"]
    assert changed.trained.lora is not None
    assert changed.trained.lora.rank == found[0]["trained.lora.rank"]
    assert changed.batch == recipe.batch


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer.speed": {"choice": [1]}}, "optimizer.speed = 1: .*unknown key.*learning_rate"),
        ({"optimizer.learning_rate": {"uniform": [0.0, 1.0]}}, "optimizer.learning_rate = 0.0: .*greater than 0"),
        ({"batch.tokens": {"choice": [64, "many"]}}, "batch.tokens = 'many': .*valid integer"),
        ({"batch.tokens": {"uniform": [64, 128], "choice": [64]}}, "exactly one of"),
        ({"batch.tokens": {"log_uniform": [0, 128]}}, "above 0"),
        ({"batch.tokens": {"uniform": [128, 64]}}, "low < high"),
        ({"output": {"choice": ["a", "b"]}}, "output cannot be varied"),
        ({}, "at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_varied_is_refused(
    tmp_path: Path, recipe: Recipe, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"sweep.yaml: .*{message}"):
        load(tmp_path, recipe, parameters=parameters)


def test_the_best_trial_is_written_as_a_recipe(tmp_path: Path, recipe: Recipe) -> None:
    store = LocalStore(tmp_path / "run")
    trials = []
    for number, values in enumerate([[3.0, 2.0, 2.5], [1.5, float("nan")], [9.0]]):
        log = MetricsLog(store.child(f"trials/{number}"))
        for step, value in enumerate(values, 1):
            log.add([{"step": step, "loss": 1.0}])
            log.add([{"step": step, "split": "validation", "metrics": {"loss": value, "accuracy": value}}])
        log.flush(now=True)
        settings = {"optimizer.learning_rate": 10.0 ** -(number + 2)}
        trials.append(_judged(number, settings, store.child(f"trials/{number}"), "loss", "min", None))
    assert [(trial.steps, trial.value) for trial in trials] == [(3, 2.0), (2, 1.5), (1, 9.0)]
    found = _best(recipe, store, "loss", "min", trials)
    assert found.best.number == 1
    again = load_recipe(Path(store.uri) / "best.yaml")
    assert again.optimizer.learning_rate == 1e-3
    assert again.output == store.uri_of("best")
    assert again.identity() == varied(recipe, trials[1].settings, "trial").identity()
    assert _best(recipe, store, "accuracy", "max", trials).best.number == 2


def test_trials_that_failed_are_not_the_best(tmp_path: Path, recipe: Recipe) -> None:
    store = LocalStore(tmp_path / "run")
    failed = Trial(0, {"optimizer.learning_rate": 1.0}, 3, 0.5, "the loss is not finite")
    with pytest.raises(TrainingError, match=r"no trial .* the loss is not finite"):
        _best(recipe, store, "loss", "min", [failed])


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> dict[int, str]:
        assert read_train_status(LocalStore(tmp_path / "run")).state == "running"
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "_tune", interrupted)
    monkeypatch.setattr(cluster, "connected", nullcontext)
    sweep = Sweep(parameters={"batch.max_tokens": {"choice": [32, 64]}}, trials=2)
    base = save_tiny(tmp_path / "model")
    with pytest.raises(InterruptedRunError, match="the same command resumes the sweep"):
        run_sweep(recipe.model_copy(update={"base": str(base)}), sweep)
    found = read_train_status(LocalStore(tmp_path / "run"))
    assert found.state == "interrupted"
    assert found.note is not None
    assert found.note.startswith("interrupted; trials go on")
