"""Preparation and feed on Ray: the same as without it, beside workers that hold their CPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raygen.config.source import StorageOptions
from raygen.errors import CorruptDataError, SourceError
from raygen.storage import LocalStore
from raygen.train.loop.feed import feed, read_blocks
from raygen.train.prepare.prepare import prepare
from raygen.train.prepare.prepared import Prepared
from raygen.train.prepare.spread import in_process
from tests.train.prepare.test_prepare import LABELLED, many, recipe_of, whole_words, write
from tests.train.whole_words import register

pytestmark = pytest.mark.ray
__all__ = ["whole_words"]


@pytest.fixture(scope="module")
def ray_of_words() -> Iterator[Any]:
    """A local Ray of two logical CPUs whose workers know the families of whole words."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    os.putenv("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, object_store_memory=2**29, log_to_driver=False,
        logging_level="ERROR", _node_ip_address="127.0.0.1", runtime_env={"worker_process_setup_hook": register},
    )  # fmt: skip
    os.unsetenv("RAY_BACKEND_LOG_LEVEL")
    yield ray
    ray.shutdown()


def test_ray_prepares_what_one_process_prepares(tmp_path: Path, ray_of_words: Any, whole_words: None) -> None:
    rows = [{**row, "label": "ab"[n % 2]} for n, row in enumerate(many(2000))]
    recipe = recipe_of(
        write(tmp_path / "s.jsonl", rows), **LABELLED,
        augmentation={"copies": 1, "delete_words": 0.2, "columns": ["text"]},
    )  # fmt: skip
    found = []
    for name, options in (("ray", {}), ("here", {"spread": in_process})):
        store = LocalStore(str(tmp_path / name))
        found.append(prepare(recipe, tmp_path, store, say=lambda line: None, budget_bytes=150_000, **options))
    assert found[0].digest == found[1].digest
    assert found[0].blocks == found[1].blocks
    assert found[0].counts == found[1].counts
    assert len(found[0].shards["train"]) > 2

    objective = {**LABELLED["objective"], "labels": ["b", "c"]}  # half of the rows have another
    refused = recipe_of(recipe.source.model_dump(), family="classifier", objective=objective)
    with pytest.raises(SourceError, match=r"rows are broken.*unknown_label"):
        prepare(refused, tmp_path, LocalStore(str(tmp_path / "refused")), say=lambda line: None)


class Worker:
    """Takes what it is fed while it holds its CPU, as a training worker does."""

    def take(self, prepared: Prepared, uri: str, rank: int) -> tuple[list[int], bool]:
        numbers = list(range(len(prepared.blocks["train"])))[::-1][rank::2]
        fed = list(feed(prepared, "train", numbers, uri, StorageOptions()))
        read = list(read_blocks(prepared, "train", numbers, LocalStore(uri)))
        return numbers, fed == read

    def take_some(self, prepared: Prepared, uri: str) -> int:
        blocks = feed(prepared, "train", list(range(len(prepared.blocks["train"]))), uri, StorageOptions())
        rows = next(blocks).num_rows
        blocks.close()  # as a training that stops does
        return rows


@pytest.mark.timeout(120)
def test_workers_that_hold_all_cpus_are_fed(tmp_path: Path, ray_of_words: Any, whole_words: None) -> None:
    store = LocalStore(str(tmp_path / "run"))
    recipe = recipe_of(write(tmp_path / "s.jsonl", many(2000)))
    prepared = prepare(recipe, tmp_path, store, say=lambda line: None, spread=in_process)
    actors = [ray_of_words.remote(Worker).options(num_cpus=1).remote() for _ in range(2)]
    taken = ray_of_words.get(
        [actor.take.remote(prepared, store.uri, rank) for rank, actor in enumerate(actors)], timeout=100
    )
    assert all(same for _, same in taken)
    assert sorted(number for numbers, _ in taken for number in numbers) == list(
        range(len(prepared.blocks["train"]))
    )
    assert (
        ray_of_words.get(actors[0].take_some.remote(prepared, store.uri)) == prepared.blocks["train"][0].units
    )
    for actor in actors:
        ray_of_words.kill(actor)

    key = prepared.shards["train"][0]
    store.delete(key)
    store.put(key, b"nothing")
    with pytest.raises(CorruptDataError, match=key):
        list(feed(prepared, "train", [0, 1], store.uri, StorageOptions()))
