"""Training on Ray Train: two workers, real blocks, and a model that others load. RAYGEN_FULL=1 runs all of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import raygen
from raygen.errors import TrainingError
from raygen.train.recipe import load_recipe
from raygen.train.run import train
from tests.fakes.tiny_encoders import save_encoder, tiny_encoder
from tests.ray import trainings
from tests.ray.processes import all_processes, wait_until

pytestmark = pytest.mark.ray

Cli = Callable[..., Any]


def kill_a_worker(run: Path) -> None:
    """Wait for a checkpoint, then kill a worker."""
    wait_until(lambda: max(trainings.checkpoints(run), default=0) >= 5, 90, "a checkpoint")
    next(each for each in all_processes() if each.command.startswith("ray::RayTrainWorker")).kill()


def test_two_workers_one_of_them_killed_train_a_model_that_runs(
    own_ray: Any, tmp_path: Path, cli: Cli
) -> None:
    recipe, run = trainings.write_recipe(tmp_path), tmp_path / "run"
    killer = threading.Thread(target=kill_a_worker, args=(run,), daemon=True)
    killer.start()
    done = cli("train", recipe, "-q")
    assert done.code == 0, done.err
    assert "workers were lost after step" in done.err
    said, alone = trainings.losses(run), trainings.losses_alone(load_recipe(recipe))
    assert [step for step, _ in said] == [step for step, _ in alone]
    assert [loss for _, loss in said] == pytest.approx([loss for _, loss in alone], rel=1e-4)
    assert "validation: loss" in done.out
    assert "perplexity" in done.out
    assert (run / "report.html").stat().st_size > 10_000
    assert len(list((run / "tensorboard").iterdir())) == 1

    again = cli("train", recipe, "-q")
    assert again.code == 0
    assert again.err.endswith("is finished; nothing to do\n")
    assert done.out.endswith(again.out)  # before it, what Ray says of the killed worker
    other = cli("train", recipe, "-q", "--set", "epochs=4")
    assert other.code == 2
    assert "epochs was 3, now 4" in other.err

    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(run / "model")
    job = {
        "name": "use",
        "source": {"format": "parquet", "uri": str(tmp_path / "rows.parquet"), "key": "id", "max_rows": 4},
        "models": {"writer": {"family": "causal_lm", "engine": "torch", "ref": str(run / "model")}},
        "steps": [{"generate": {"model": "writer", "prompt": "{{ id }}", "sampling": {"max_tokens": 4}}}],
        "output": str(tmp_path / "used"),
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    used = cli("run", tmp_path / "job.yaml", "--inline", "-q")
    assert used.code == 0, used.err
    assert raygen.open_run(str(tmp_path / "used")).to_arrow().num_rows == 4


@pytest.mark.full
def test_a_classifier_is_trained_measured_and_calibrated(own_ray: Any, tmp_path: Path) -> None:
    save_encoder(tmp_path / "base", tiny_encoder())
    words = ("red", "green", "blue")
    rows = {
        "id": [f"r{n}" for n in range(150)],
        "text": [f"{words[n % 3]} number {n}" for n in range(150)],
        "label": [words[n % 3] for n in range(150)],
    }
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    recipe = trainings.write_recipe(
        tmp_path,
        family="classifier",
        objective={"text": "{{ text }}", "label": "label"},
        preparation={"validation": 0.2, "test": 0.2},
        batch={"tokens": 512, "micro_tokens": 256, "max_tokens": 32},
        optimizer={"learning_rate": 3e-3},
        epochs=6,
        evaluation={"every_steps": 100, "metric": "macro_f1"},
    )
    evaluations: list[dict[str, Any]] = []
    done = train(load_recipe(recipe), listen=evaluations.append)
    assert done.metrics["test"]["macro_f1"] > 0.9
    assert len(evaluations) == 1
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert set(config["id2label"].values()) == set(words)


@pytest.mark.full
def test_a_loss_that_is_not_finite_ends_the_training_in_one_line(own_ray: Any, tmp_path: Path) -> None:
    wild = {"name": "sgd", "learning_rate": 10, "momentum": 0, "clip_norm": None}
    recipe = trainings.write_recipe(tmp_path, optimizer=wild, epochs=50)
    with pytest.raises(TrainingError, match=r"not finite at epoch \d+, step \d+; rows of the batch: p\d+"):
        train(load_recipe(recipe))


@pytest.mark.full
def test_a_sweep_keeps_the_best_recipe(own_ray: Any, tmp_path: Path, cli: Cli) -> None:
    recipe = trainings.write_recipe(tmp_path, workers=1, epochs=1, evaluation={"every_steps": 8})
    sweep = {"parameters": {"optimizer.learning_rate": {"choice": [1e-7, 1e-3]}}, "trials": 2, "seed": 1}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    done = cli("train", recipe, "--sweep", tmp_path / "sweep.yaml", "-q")
    assert done.code == 0, done.err
    assert load_recipe(tmp_path / "run" / "best.yaml").optimizer.learning_rate == 1e-3
    assert not (tmp_path / "run" / "trials" / "0" / "prepared").exists()  # one preparation serves all
    again = cli("train", recipe, "--sweep", tmp_path / "sweep.yaml", "-q")
    assert again.out == done.out


@pytest.mark.full
def test_rows_that_cannot_be_learnt_from_are_refused(own_ray: Any, tmp_path: Path, cli: Cli) -> None:
    recipe = trainings.write_recipe(tmp_path, objective={"text": "{{ body }}"})
    done = cli("train", recipe, "-q")
    assert done.code == 2
    assert "body" in done.err
    assert "id, text" in done.err
