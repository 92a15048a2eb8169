"""Private names of Ray are where raygen looks for them."""

from __future__ import annotations

import inspect

import pytest
import ray

from raygen.cluster import private


def test_lines_of_workers_can_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray._private.worker, "_worker_logs_enabled", True)
    private.hide_worker_lines()
    assert ray._private.worker._worker_logs_enabled is False
    assert "_worker_logs_enabled" in ray._private.worker.print_worker_logs.__code__.co_names


def test_what_a_workers_function_raised_is_found() -> None:
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    raised = ValueError("x")
    assert private.raised_in_worker(UserExceptionWithTraceback(raised, traceback_str="")) is raised
    assert private.raised_in_worker(raised) is raised


def test_torchs_backend_can_be_subclassed() -> None:
    backend, set_variables = private.torch_backend()
    assert list(inspect.signature(backend.on_start).parameters) == ["self", "worker_group", "backend_config"]
    assert callable(set_variables)
