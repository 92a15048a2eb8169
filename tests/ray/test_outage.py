"""Endpoints that are gone, spent or picky, asked by several actors: the run waits, or ends as a whole and resumes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.endpoint.mock import Reply, prompt_of
from raygen.pipeline.progress import summary
from raygen.pipeline.run import run_job
from raygen.program.job import load_job
from tests.fakes.screen import Screen
from tests.fakes.served import endpoint_job, free_port, served

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("own_ray")]
Cli = Callable[..., Any]
ROWS = [f"question {n}" for n in range(60)]
POOLED = ("--set", "models.writer.placement=pooled", "--set", "models.writer.replicas=[2, 2]")


@pytest.mark.parametrize("pooled", [(), POOLED], ids=["colocated", "pooled"])
def test_a_spent_account_ends_the_run_as_a_whole_and_it_resumes(
    cli: Cli, tmp_path: Path, pooled: tuple[str, ...]
) -> None:
    state = {"spent": True, "asked": 0}

    def balance(body: dict[str, Any], head: bytes) -> Reply | None:
        state["asked"] += 1
        if prompt_of(body) == "BAD":
            return 403, {}, b"<html>blocked"
        return (
            (402, {}, b'{"error": {"message": "Balance"}}')
            if state["spent"] and state["asked"] > 20
            else None
        )

    with served(balance, latency_s=0.02) as endpoint:
        job = endpoint_job(tmp_path, endpoint.url, [*ROWS, "BAD"], concurrency=2)
        wide = pooled or ("--set", "execution.replicas=[2, 2]")
        ended = cli("run", job, "-q", *wide)
        assert ended.code == 2, ended.err
        assert "nothing is left to spend" in ended.err.splitlines()[-1]
        status = json.loads(cli("status", tmp_path / "run", "--json").out)
        assert status["state"] == "interrupted"
        state["spent"] = False
        finished = cli("run", job, "-q", *wide)
    assert finished.code == 3, finished.err
    assert "60 accepted, 0 rejected, 1 failed" in finished.out


def test_an_outage_is_waited_for_and_told(tmp_path: Path) -> None:
    port, screen, results = free_port(), Screen(), []
    path = endpoint_job(tmp_path, f"http://127.0.0.1:{port}/v1", ROWS, concurrency=4, start_patience_s=3)
    job = load_job(path, ["execution.replicas=[2, 2]"])
    with served(port=port, latency_s=0.05) as endpoint:
        running = threading.Thread(target=lambda: results.append(run_job(job, display=screen)))
        running.start()
        while endpoint.counters.answered < 8:
            time.sleep(0.01)
            assert running.is_alive()
    told: list[str] = []
    while not told:
        time.sleep(0.1)
        told = [line for line in map(summary, screen.shown) if "(connection refused)" in line]
        assert running.is_alive()
    with served(port=port):
        running.join(60)
    assert results[0].rows == {"total": 60, "accepted": 60, "rejected": 0, "failed": 0}
    assert "(connection refused); asking again every " in told[0]
    year = time.strftime("%Y")
    assert f" since {year}-" not in told[0]  # times of several actors are not added up
