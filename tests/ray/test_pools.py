"""Pooled models on Ray: the same outcomes as inline, whatever becomes of their replicas. One Ray for the whole file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.errors import ConfigError
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.monitor import Progress
from raygen.pipeline.pools.layout import Group
from raygen.pipeline.pools.pool import Pool
from raygen.pipeline.pools.scaler import Scaler
from raygen.pipeline.run import run_job
from raygen.program.job import load_job
from tests.ray import cases
from tests.ray.fragile import FRAGILE
from tests.ray.processes import Process, descendants, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("own_ray")]

Cli = Callable[..., Any]


def replicas() -> list[Process]:
    return [each for each in descendants(os.getpid()) if each.command.startswith("ray::Replica")]


def all_gone() -> None:
    wait_until(lambda: not replicas(), 10, "replicas to end")


class Watcher:
    """A display that keeps the largest figure of each kind."""

    def __init__(self) -> None:
        self.most: dict[str, float] = {}

    def update(self, progress: Progress) -> None:
        for key, value in progress.engine.items():
            self.most[key] = max(self.most.get(key, 0), value)

    def say(self, line: str) -> None:
        pass

    def close(self) -> None:
        pass


def test_pools_and_inline_agree_and_a_killed_replica_costs_no_row(tmp_path: Path) -> None:
    """Accepted, rejected and failed rows alike, while both pools lose a replica's process."""
    rows = cases.table(100).to_pydict()
    for row in (3, 4, 70):
        rows["text"][row] += " and more than fits" * 10
    job = cases.two_models(
        tmp_path,
        100,
        10,
        cases.pooled(delay_s=0.3, concurrency=8, context_tokens=30),
        cases.pooled(delay_s=0.05, concurrency=8),
    )
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    watcher = Watcher()
    killed: list[int] = []

    def kill_two() -> None:
        for commits in (1, 4):
            wait_until(lambda: cases.commits_of(tmp_path / "run") >= commits, 60, "commits")  # noqa: B023
            [first, *_] = [each for each in replicas() if each.pid not in killed]
            killed.append(first.pid)
            first.kill()

    killer = threading.Thread(target=kill_two)
    killer.start()
    assert run_job(load_job(job), display=watcher).exit_code == 3
    killer.join()
    assert len(killed) == 2
    all_gone()
    assert run_job(load_job(job, [f"output={tmp_path / 'inline'}"]), inline=True).exit_code == 3
    found, inline = (raygen.open_run(str(tmp_path / name)).to_arrow() for name in ("run", "inline"))
    assert found.equals(inline)
    assert {*found.column("reason").to_pylist()} == {None, "not_entailed", "prompt_too_long"}
    assert (watcher.most["pool.writer.replicas"], watcher.most["pool.nli.replicas"]) == (1, 1)
    assert watcher.most["pool.writer.in_flight"] == 8
    assert watcher.most["pool.writer.asked"] > 8
    assert watcher.most["usage.output_tokens"] > 0


def test_a_pool_grows_shrinks_restarts_and_can_be_lost(own_ray: Any, tmp_path: Path) -> None:
    job = load_job(cases.two_models(tmp_path, 10, 10, {**cases.pooled(), "replicas": [1, 2]}, {}))
    model = ResolvedModel("writer", job.models["writer"], None, "echo:-")
    hosts, group = (Group(name, 1, 2, 0.1, 0, True, False) for name in ("execution", "writer"))
    pool = Pool(model, job, group, hosts, restarts=1)
    pool._scaler = Scaler(1, 2, 256, wait_s=0.1, idle_s=0.2)
    pool.add(1)

    def ticked(met: Callable[[], bool], asked: float) -> None:
        def tick() -> bool:
            pool.tick(time.monotonic(), asked, True)
            return met()

        wait_until(tick, 30, "the pool")

    ticked(lambda: len(pool.members) == 2 and all(member.pid for member in pool.members), 500)
    pids = {member.pid for member in pool.members}
    own_ray.kill(pool.members[0].handle, no_restart=False)
    ticked(lambda: pool.up() == 1, 500)
    ticked(lambda: pool.up() == 2 and all(member.figures for member in pool.members), 500)
    assert len({member.pid for member in pool.members} & pids) == 1
    ticked(lambda: pool.up() == 1, 0)
    assert len(pool.roster().links) == 1
    ticked(lambda: len(pool.members) == 1, 0)
    own_ray.kill(pool.members[0].handle, no_restart=True)
    ticked(lambda: pool.lost is not None, 0)
    assert "model 'writer': a replica's process ended" in str(pool.lost)
    pool.close()
    all_gone()


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("start", "raygen: error: the accelerator is not there"),
        ("generate_exits", "model 'writer': a replica's process ended"),
    ],
)
def test_a_broken_pool_ends_the_run_in_one_line_and_the_run_resumes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, says: str
) -> None:
    monkeypatch.setattr("raygen.pipeline.execute.MAX_RETRIES", 1)
    job = cases.write_job(
        tmp_path,
        64,
        64,  # one chunk: nothing is committed, so there is no second pass
        models={"writer": {"family": "causal_lm", "engine": FRAGILE, "placement": "pooled"}},
    )
    broken = cli("run", job, "-q", "--set", f"models.writer.options={{fails: {fails}}}")
    assert (broken.code, broken.err.count("\n"), says in broken.err) == (1, 1, True), broken.err
    all_gone()
    assert cli("run", job, "-q", "--inline").code == 0
    cases.assert_exact(cases.objects_of(tmp_path / "run"), cases.expected(64, 64))


def test_pools_that_do_not_fit_this_ray_are_refused(tmp_path: Path) -> None:
    job = cases.two_models(
        tmp_path, 10, 10, {**cases.pooled(), "replicas": [2, 2], "cpus_per_replica": 0.8}, {}
    )
    with pytest.raises(ConfigError, match=r"models\.writer\.replicas: at least 2 replicas of 0\.8 CPUs"):
        run_job(load_job(job))
    all_gone()
