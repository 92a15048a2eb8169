"""The metrics log and its event files: what is kept when a training computes steps again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raygen.storage import LocalStore, Store
from raygen.train.driver.events import EVENTS_KEY, Events
from raygen.train.loop.records import METRICS_KEY, MetricsLog, keep_part, number, read_metrics
from tests.exactly_once.memory_store import MemoryStore


def step(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {
        "step": number, "epoch": 0, "loss": loss, "learning_rate": 1e-4, "grad_norm": 2.0, "tokens": 64,
        "targets": 60, "seconds": 0.5,
    }  # fmt: skip


def evaluation(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {"step": number, "split": "validation", "metrics": {"loss": loss}}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "run")


def test_a_log_is_read_back(store: LocalStore) -> None:
    log = MetricsLog(store)
    log.add([step(1), step(2), evaluation(2)])
    log.flush()
    assert list(read_metrics(store)) == []  # seconds have not passed
    log.flush(now=True)
    assert list(read_metrics(store)) == [step(1), step(2), evaluation(2)]
    assert store.get(METRICS_KEY).count(b"\n") == 3


def test_steps_that_are_computed_again_replace_what_was_said_of_them_and_of_later_ones(
    store: LocalStore,
) -> None:
    log = MetricsLog(store)
    log.add([step(1), step(2), evaluation(2), step(3), step(4), evaluation(4), step(5)])
    log.flush(now=True)
    resumed = MetricsLog(store)
    resumed.add([step(3, 3.0)])
    assert resumed.records == [step(1), step(2), evaluation(2), step(3, 3.0)]
    resumed.add([step(4, 4.0), evaluation(4, 4.0)])
    assert resumed.records[-2:] == [step(4, 4.0), evaluation(4, 4.0)]


def test_an_evaluation_that_is_made_again_replaces_the_first(store: LocalStore) -> None:
    log = MetricsLog(store)
    log.add([step(1), evaluation(1, 1.0), evaluation(1, 2.0)])
    assert log.records == [step(1), evaluation(1, 2.0)]


def test_what_a_killed_driver_had_not_written_is_taken_from_what_the_workers_kept(store: LocalStore) -> None:
    log = MetricsLog(store)
    log.add([step(1), step(2)])
    log.flush(now=True)
    keep_part(store, 2, [step(1), step(2), evaluation(2)])
    keep_part(store, 4, [step(3), step(4)])
    mended = MetricsLog(store)
    assert mended.records == [step(1), step(2), evaluation(2), step(3), step(4)]
    mended.add([step(5)])
    mended.close()
    assert [info.key for info in store.list()] == [METRICS_KEY]
    assert list(read_metrics(store)) == [step(1), step(2), evaluation(2), step(3), step(4), step(5)]


def test_values_that_json_has_not_are_missing(store: LocalStore) -> None:
    log = MetricsLog(store)
    log.add([evaluation(1, float("inf"))])
    log.flush(now=True)
    (record,) = read_metrics(store)
    assert number(record["metrics"], "loss") is None
    assert number({"loss": float("nan")}, "loss") is None
    assert number({"loss": 0}, "loss") == 0.0


def test_a_changing_log_is_not_written_all_the_time(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("raygen.train.loop.records.time.monotonic", lambda: now_s[0])
    log = MetricsLog(store)
    writes = []
    monkeypatch.setattr(store, "put", lambda key, data: writes.append(now_s[0]))
    for _ in range(1000):
        now_s[0] += 0.1
        log.add([step(1)])
        log.flush()
    assert 15 <= len(writes) <= 20  # every five seconds


def scalars(store: Store) -> dict[tuple[str, int], float]:
    """The last value of each curve's steps, as TensorBoard reads the only event file."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    (info,) = store.list(f"{EVENTS_KEY}/")
    data, found, start = store.get(info.key), {}, 0
    while start < len(data):
        length = int.from_bytes(data[start : start + 8], "little")
        event = Event.FromString(data[start + 12 : start + 12 + length])
        start += 16 + length
        if event.session_log.status == SessionLog.START:
            found = {key: value for key, value in found.items() if key[1] < event.step}
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
    return found


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
def test_event_files_say_what_the_log_says(kind: type[Store], tmp_path: Path) -> None:
    store = MemoryStore() if kind is MemoryStore else LocalStore(tmp_path)
    first = Events(store)
    first.add([step(1), step(2, 2.0), evaluation(2, 5.0), step(3, 3.0)])
    first.close()
    again = Events(store, [step(1), step(2, 2.0), evaluation(2, 5.0), step(3, 3.0)])
    again.add([step(2, 7.0), step(3, 8.0)])
    again.close()
    found = scalars(store)
    assert {key: value for key, value in found.items() if key[0] == "train/loss"} == {
        ("train/loss", 1): 1.0, ("train/loss", 2): 7.0, ("train/loss", 3): 8.0,
    }  # fmt: skip
    assert ("validation/loss", 2) not in found  # it was of the weights before
    assert found["train/tokens_per_s", 3] == 128
