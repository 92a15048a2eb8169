"""A training in a bucket that fails now and then: killed while it uploads a checkpoint, resumed, finished, told of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.config.source import StorageOptions
from raygen.storage import open_store
from raygen.train.driver.claim import RECIPE_KEY, claim
from raygen.train.driver.status import read_train_status
from raygen.train.loop.checkpoint import complete_steps, folder_of
from raygen.train.loop.context import Context
from raygen.train.loop.records import MetricsLog
from raygen.train.loop.training import Training
from raygen.train.recipe import Recipe
from tests.fakes.fault_s3 import Faults, FaultS3
from tests.train.in_memory import InMemory, child, llama, questions, recipe_of, trainer_of

URI = "s3://bucket/some/run"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, since sums round alike only over as many; and nobody's own account."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(
    recipe: Recipe, uri: str, storage: StorageOptions, die_at: int | None = None
) -> list[dict[str, Any]]:
    """Train, and die by SIGKILL after step `die_at`, amid the upload of the one before it; return the posted records."""
    torch.set_num_threads(1)
    trainer = trainer_of(recipe)
    data = InMemory(recipe, trainer, train=questions(40), validation=questions(6))
    store = open_store(uri, storage)
    records: list[dict[str, Any]] = []

    def board(record: dict[str, Any]) -> None:
        records.append(record)
        if record["step"] == die_at:
            while not any(store.list(folder_of(die_at - 1))):
                pass
            os.kill(os.getpid(), signal.SIGKILL)

    Training(recipe, trainer, data.blocks, Context(store, data.feed, board=board)).run()
    return records


def in_child(recipe_json: str, endpoint_url: str, die_at: int) -> None:
    storage = StorageOptions(endpoint_url=endpoint_url, region="us-east-1")
    train(Recipe.model_validate_json(recipe_json), URI, storage, die_at)


def losses(records: list[dict[str, Any]]) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in records if "split" not in record}


def test_a_training_in_a_bucket_is_killed_and_resumed(tmp_path: Path) -> None:
    settings = {"dropout": 0.2, "max_steps": 9, "epochs": 9, "checkpoints": {"every_steps": 3}}
    recipe = recipe_of(llama(tmp_path / "base"), **settings)
    whole = losses(train(recipe, str(tmp_path / "calm"), StorageOptions()))
    with FaultS3(Faults(latency_s=0.1)) as s3:
        # So that the upload cannot end before the kill.
        s3.script("PUT", "checkpoints/00000006/digests", ["error_503"] * 9)
        dying = child(in_child, recipe.model_dump_json(), s3.endpoint_url, 7)
        dying.join(120)
        assert dying.exitcode == -signal.SIGKILL
        store = open_store(URI, StorageOptions(endpoint_url=s3.endpoint_url, region="us-east-1"))
        s3.faults = Faults()
        s3.forget()
        s3.script("GET", "checkpoints/00000003/model", ["truncate", "error_503"])
        s3.script("PUT", "checkpoints/", ["lost_answer", None, "drop", None, "error_503"])
        s3.script("PUT", "finished.json", ["lost_answer"])
        assert set(complete_steps(store)) == {3}
        assert any(key.startswith("some/run/checkpoints/00000006/") for key in s3.objects())
        claim(store, RECIPE_KEY, "case", recipe.identity(), recipe=recipe.model_dump(mode="json"))
        records = train(recipe, URI, StorageOptions(endpoint_url=s3.endpoint_url, region="us-east-1"))
        kept = MetricsLog(store)
        kept.add(records)
        kept.close()
        rest = losses(records)
        assert list(rest) == [4, 5, 6, 7, 8, 9]
        assert all(abs(rest[step] - whole[step]) <= 1e-6 for step in rest)
        assert s3.given == {"truncate": 1, "lost_answer": 2, "drop": 1, "error_503": 2}
        found = read_train_status(store)
        assert (found.state, found.step, found.kept_step) == ("finished", 9, 9)
        assert found.checkpoints == [9]
        assert found.model == f"{URI}/model"
        calm = {path.name: path.read_bytes() for path in (tmp_path / "calm" / "model").iterdir()}
        assert calm == {name: store.get(f"model/{name}") for name in calm}
