from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from raygen.serve.cluster.scaling import by_rows


def context(queued: float = 0, **said: list[float]) -> Any:
    metrics = {name: {f"r{n}": value for n, value in enumerate(values)} for name, values in said.items()}
    return SimpleNamespace(aggregated_metrics=metrics, total_queued_requests=queued)


def wanted(queued: float = 0, **said: list[float]) -> int:
    return by_rows(context(queued, **said))[0]


def test_nobody_asks_and_no_replica_is_wanted() -> None:
    assert wanted() == 0
    assert wanted(rows_running=[0.0], rows_waiting=[0.0], rows_per_replica=[8]) == 0


def test_a_request_that_no_replica_has_taken_wants_one() -> None:
    assert wanted(queued=0.2) == 1


def test_a_long_stream_keeps_its_replica() -> None:
    assert wanted(rows_running=[1.0], rows_waiting=[0.0], rows_per_replica=[8]) == 1


@pytest.mark.parametrize(("rows", "replicas"), [(8, 1), (9, 2), (16, 2), (17, 3)])
def test_rows_of_all_replicas_are_divided_by_what_one_should_have(rows: int, replicas: int) -> None:
    assert (
        wanted(rows_running=[rows - 3.0, 1.0], rows_waiting=[2.0, 0.0], rows_per_replica=[8, 8]) == replicas
    )


def test_rows_of_a_batch_count_each_and_not_as_one_call() -> None:
    assert wanted(rows_running=[256.0], rows_waiting=[0.0], rows_per_replica=[64]) == 4


def test_before_any_replica_has_spoken_nothing_is_divided_by_zero() -> None:
    assert by_rows(SimpleNamespace(aggregated_metrics=None, total_queued_requests=None)) == (0, {})


def test_it_needs_no_name_of_its_module_when_it_is_copied_by_value() -> None:
    from ray import cloudpickle

    from raygen.serve.cluster import scaling

    cloudpickle.register_pickle_by_value(scaling)
    try:
        copied = cloudpickle.dumps(by_rows)
    finally:
        cloudpickle.unregister_pickle_by_value(scaling)
    assert b"raygen.errors" not in copied
    assert cloudpickle.loads(copied)(context(queued=1))[0] == 1
