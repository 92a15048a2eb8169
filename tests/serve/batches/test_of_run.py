"""`raygen status` of a batch's run: how the batch ended and where its results are, or that a service goes on with it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.serve.batches import driver
from tests.fakes.batch_service import TENANT, created, ended, lines, running, settings

RESUME = "run the same command again"
SLOW = {"options": {"delay_s": 0.3}, "batches": {"rows_in_flight": 16}}


def run_of(store: Path, batch: str) -> Path:
    return store / "tenants" / TENANT / "batches" / batch / "run"


def begun(client: Any) -> str:
    """Make a batch of several chunks, and wait until one is committed."""
    batch: str = created(client, lines(192)).id
    until = time.monotonic() + 20
    while not client.batches.retrieve(batch).request_counts.completed:
        assert time.monotonic() < until
        time.sleep(0.02)
    return batch


def test_of_a_cancelled_batch_it_says_so_and_where_the_results_are(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    with running(settings(tmp_path, **SLOW)) as service, service.client() as client:
        batch = begun(client)
        client.batches.cancel(batch)
        found = ended(client, batch)
    run = run_of(tmp_path, batch)
    said = cli("status", run).out
    assert said.startswith(f"{batch}: cancelled  ({run})")
    assert "the batch was cancelled" in said
    assert f"/v1/files/{found.output_file_id}/content and /v1/files/{found.error_file_id}/content" in said
    assert RESUME not in said
    assert json.loads(cli("status", run, "--json").out)["state"] == "cancelled"


def test_of_an_expired_batch_it_says_so(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings(tmp_path, **SLOW)) as service, service.client() as client:
        batch = begun(client)
        monkeypatch.setattr(driver, "time", SimpleNamespace(time=lambda: time.time() + 10**6))
        ended(client, batch)
    said = cli("status", run_of(tmp_path, batch)).out
    assert f"{batch}: expired" in said
    assert "the batch has expired" in said
    assert RESUME not in said


def test_of_a_batch_whose_service_ended_it_says_who_goes_on(cli: Callable[..., Any], tmp_path: Path) -> None:
    with running(settings(tmp_path, **SLOW)) as service, service.client() as client:
        batch = begun(client)
    run = run_of(tmp_path, batch)
    said = cli("status", run).out
    assert f"{batch}: interrupted" in said
    assert "the batch is in_progress: a service of this store goes on with it" in said
    assert RESUME not in said

    # A copy without its batch is a run like any other.
    copy = tmp_path / "elsewhere" / "tenants" / TENANT / "batches" / batch / "run"
    shutil.copytree(run, copy)
    assert RESUME in cli("status", copy).out
