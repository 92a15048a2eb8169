"""Training before it starts: what is refused, in one line; and whose a directory is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from raygen.errors import RunConflictError
from raygen.storage import LocalStore
from raygen.storage.sealed import seal
from raygen.train.driver.claim import claim
from raygen.train.driver.progress import TrainProgress, line
from raygen.train.loop.records import FINISHED_KEY
from raygen.train.run import TrainResult
from tests.fakes.tiny_llama import save_tiny
from tests.train.in_memory import bert

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base"))


@pytest.fixture
def recipe(tmp_path: Path, passages: Path, base: Path) -> Callable[..., Path]:
    """Write a recipe; keyword arguments replace top-level keys."""

    def write(**changes: Any) -> Path:
        record = {
            "name": "case",
            "family": "causal_lm",
            "base": str(base),
            "source": {"format": "parquet", "uri": str(passages), "key": "id"},
            "objective": {"text": "{{ text }}"},
            "batch": {"max_tokens": 64},
            "output": str(tmp_path / "run"),
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(record))
        return path

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": {}}, "recipe.yaml: optimiser: unknown key (did you mean 'optimizer'?)"),
        ({"base": "smollm"}, "'smollm' is no model reference; allowed: hf:org/name@revision"),
        ({"base": "./nowhere"}, "./nowhere"),
        (
            {"family": "classifier", "objective": {"text": "{{ text }}", "label": "topic"}},
            "family classifier wants an encoder",
        ),
        (
            {"batch": {"max_tokens": 4096, "micro_tokens": 4096}},
            "batch.max_tokens: 4096; the base reads at most 160",
        ),
        ({"evaluation": {"metric": "beauty"}}, "evaluation.metric: family causal_lm has no 'beauty'"),
        ({"workers": [3, 2]}, "workers is a number, or [min, max]"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    cli: Cli, recipe: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    done = cli("train", recipe(**changes))
    assert done.code == 2, done.err
    assert done.err.startswith("raygen: error: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not done.out
    assert not (tmp_path / "run").exists()


def test_a_missing_recipe_and_a_wrong_sweep_are_refused(
    cli: Cli, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    assert "cannot read the file" in cli("train", tmp_path / "none.yaml").err
    (tmp_path / "sweep.yaml").write_text("parameters: {optimizer.speed: {choice: [1]}}")
    done = cli("train", recipe(), "--sweep", tmp_path / "sweep.yaml")
    assert done.code == 2
    assert "parameters.optimizer.speed = 1" in done.err


def test_a_directory_belongs_to_the_training_that_began_there(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    mine = {"epochs": 3, "optimizer": {"learning_rate": 1e-3}}
    claim(store, "recipe.json", "case", mine)
    claim(store, "recipe.json", "renamed", mine)
    with pytest.raises(
        RunConflictError,
        match=r"another training of 'case': optimizer.learning_rate was 0.001, now 0.1\. Choose",
    ):
        claim(store, "recipe.json", "case", {"epochs": 3, "optimizer": {"learning_rate": 0.1}})
    many = {"epochs": 4, **{f"key{number}": number for number in range(9)}, "optimizer": {}}
    with pytest.raises(RunConflictError, match="and 7 more"):
        claim(store, "recipe.json", "case", many)


def test_what_a_classifier_had_to_beat_is_said_and_shown(
    cli: Cli, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """A session died after it wrote finished.json: the next one writes the report."""
    path = recipe(
        family="classifier",
        base=str(bert(tmp_path / "encoder")),
        objective={"text": "{{ text }}", "label": "topic"},
    )
    metrics = {"accuracy": 0.75, "macro_f1": 0.7, "weighted_f1": 0.7, "ece": 0.1, "f1_t0": 0.9}
    finished = {
        "steps": 5,
        "kept_step": 5,
        "evaluated": {"test": {"metrics": metrics, "details": {}, "worst": []}},
        "baselines": {"majority": {"metrics": {**metrics, "accuracy": 0.2, "macro_f1": 0.0625}}},
        "model": "model",
    }
    LocalStore(tmp_path / "run").put(FINISHED_KEY, seal(finished))
    done = cli("train", path)
    assert done.code == 0, done.err
    assert done.out.splitlines()[:2] == [
        "test:       accuracy 0.75, macro_f1 0.7, weighted_f1 0.7, ece 0.1",
        "baseline:   majority: accuracy 0.2, macro_f1 0.0625",
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Beside baselines, on the test split" in page
    assert "0.0625" in page
    del finished["baselines"]  # as earlier versions wrote it
    LocalStore(tmp_path / "run").put(FINISHED_KEY, seal(finished))
    again = cli("train", path)
    assert "baseline" not in again.out
    assert again.out.splitlines()[1].startswith("model: ")


def test_an_interrupted_training_says_so_by_its_exit_code() -> None:
    assert TrainResult("run", "interrupted", 5, {}).exit_code == 130
    assert TrainResult("run", "finished", 5, {}).exit_code == 0


def test_progress_is_one_line() -> None:
    shown = TrainProgress(
        "case", "training", 120, 480, 2, loss=1.23456, speed=1234.5, learning_rate=5e-5,
        validation={"macro_f1": 0.8, "loss": 0.5}, metric="macro_f1", best=0.81, eta_s=90, restarts=1,
    )  # fmt: skip
    assert line(shown) == (
        "step 120/480 · loss 1.235 · learning rate 5e-05 · 1,234 tokens/s · restarts 1 · "
        "validation macro_f1 0.8 (best 0.81) · loss 0.5 · ETA 1 min 30 s"
    )
    evaluating = line(dataclasses.replace(shown, evaluating=True))
    assert "learning rate 5e-05 · evaluating · restarts 1" in evaluating
    assert "tokens/s" not in evaluating
    assert line(TrainProgress("case", "preparing", 5, 10, 0, elapsed_s=3)) == "preparing · 5/10 · 3 s"
