"""Checkpoints: whole or not chosen; written in the background; the best and the newest stay."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from raygen.errors import CorruptDataError, StorageError
from raygen.storage import LocalStore, Store
from raygen.train.loop.checkpoint import (
    DIGESTS,
    MODEL,
    OPTIMIZER,
    STATE,
    Saver,
    Snapshot,
    folder_of,
    latest,
    prune,
    read,
    write,
)
from tests.exactly_once.memory_store import MemoryStore
from tests.train.in_memory import child


def snapshot(step: int, metric: float | None = None) -> Snapshot:
    return Snapshot(
        step,
        {"w": torch.arange(6.0).reshape(2, 3) + step, "half": torch.ones(2, dtype=torch.bfloat16)},
        {"exp_avg/w": torch.full((2, 3), 0.5), "step/w": torch.tensor(float(step))},
        {"epoch": 1, "best": {"value": 0.25}},
        metric,
    )


def same(found: Snapshot | None, wanted: Snapshot) -> bool:
    return (
        found is not None
        and (found.step, found.state, found.metric) == (wanted.step, wanted.state, wanted.metric)
        and all(torch.equal(found.weights[name], tensor) for name, tensor in wanted.weights.items())
        and all(torch.equal(found.optimizer[name], tensor) for name, tensor in wanted.optimizer.items())
    )


def test_what_is_written_is_read_again_without_pickle(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert latest(store) is None
    write(store, snapshot(5, 0.5))
    assert same(latest(store), snapshot(5, 0.5))
    names = {path.name for path in (tmp_path / "checkpoints" / "00000005").iterdir()}
    assert names == {MODEL, OPTIMIZER, STATE, DIGESTS}


def test_the_newest_of_several_is_chosen() -> None:
    store = MemoryStore()
    for step in (5, 100, 20):
        write(store, snapshot(step))
    assert same(latest(store), snapshot(100))


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, STATE, DIGESTS])
@pytest.mark.parametrize("damage", ["cut", "missing", "empty"])
def test_an_incomplete_checkpoint_is_not_chosen(name: str, damage: str) -> None:
    store = MemoryStore()
    write(store, snapshot(5))
    write(store, snapshot(6))
    key = folder_of(6) + name
    if damage == "missing":
        store.delete(key)
    else:
        store.put(key, store.get(key)[:-1] if damage == "cut" else b"")
    assert same(latest(store), snapshot(5))
    with pytest.raises(CorruptDataError):
        read(store, 6)


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, STATE, DIGESTS])
def test_a_checkpoint_with_a_flipped_bit_is_not_chosen(name: str) -> None:
    """In any byte: one among the numbers would be read without complaint."""
    store = MemoryStore()
    write(store, snapshot(5))
    write(store, snapshot(6))
    key = folder_of(6) + name
    whole = store.get(key)
    for place in range(len(whole)):
        store.put(key, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert same(latest(store), snapshot(5)), place


def test_digests_of_another_step_do_not_count() -> None:
    store = MemoryStore()
    for info in (write(store, snapshot(5)), list(store.list()))[1]:
        store.put(info.key.replace("05/", "07/"), store.get(info.key))
    assert same(latest(store), snapshot(5))


class Fatal(LocalStore):
    """Its process dies in the middle of an object."""

    left = 0  # objects before that one

    def put(self, key: str, data: bytes) -> None:
        if self.left == 0:
            path = self.path_of(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        super().put(key, data)


@pytest.mark.parametrize("number", range(4))
def test_killed_in_any_upload_the_one_before_is_chosen(tmp_path: Path, number: int) -> None:
    store = Fatal(tmp_path)
    store.left = 4 + number
    write(store, snapshot(5))
    writing = child(write, store, snapshot(9))
    writing.join(120)
    assert writing.exitcode == -signal.SIGKILL
    assert any(info.key.startswith(folder_of(9)) for info in store.list("checkpoints/"))
    assert same(latest(store), snapshot(5))


def steps_in(store: Store) -> set[int]:
    return {int(info.key.split("/")[1]) for info in store.list("checkpoints/")}


def test_the_best_and_the_newest_stay() -> None:
    store = MemoryStore()
    for step, metric in ((1, 0.9), (2, 0.2), (3, None), (4, 0.4), (5, 0.2), (6, None)):
        write(store, snapshot(step, metric))
    store.put("checkpoints/00000004/left", b"of a killed one")
    store.delete(folder_of(4) + DIGESTS)
    lower = MemoryStore()
    lower.objects = dict(store.objects)
    prune(store, 2, higher=True)
    assert steps_in(store) == {1, 2, 6}
    prune(lower, 1, higher=False)
    assert steps_in(lower) == {2, 6}
    assert same(latest(lower), snapshot(6))


def test_a_checkpoint_written_again_does_not_count_meanwhile() -> None:
    class Failing(MemoryStore):
        def put(self, key: str, data: bytes) -> None:
            if key.endswith(OPTIMIZER) and folder_of(6) in key and self.exists(key):
                raise StorageError("no more")
            super().put(key, data)

    store = Failing()
    write(store, snapshot(5))
    write(store, snapshot(6))
    with pytest.raises(StorageError):
        write(store, snapshot(6, 0.1))
    assert same(latest(store), snapshot(5))


class Slow(MemoryStore):
    """Writes nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def put(self, key: str, data: bytes) -> None:
        assert self.may.wait(60)
        super().put(key, data)


def test_saving_copies_at_once_and_writes_later() -> None:
    store = Slow()
    saver = Saver(store, keep=1, higher=False)
    live = snapshot(3)
    saver.save(live)
    live.weights["w"] += 100  # the training goes on
    assert latest(store) is None
    store.may.set()
    saver.finish()
    assert same(latest(store), snapshot(3))
    saver.close()


def test_what_went_wrong_in_the_background_is_raised_by_the_next_call() -> None:
    class Broken(MemoryStore):
        def put(self, key: str, data: bytes) -> None:
            raise StorageError("the store is full")

    saver = Saver(Broken(), keep=1, higher=False)
    saver.save(snapshot(1))
    with pytest.raises(StorageError, match="full"):
        saver.save(snapshot(2))
    saver.finish()  # it is said once
    saver.close()
