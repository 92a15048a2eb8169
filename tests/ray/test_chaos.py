"""Chaos: one run on a cluster of three nodes, while its engines, tasks, nodes and drivers are killed.

The oracle is the input alone (tests/exactly_once/oracle.py). RAYGEN_FULL=1 runs it at full size.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import raygen
from raygen.errors import UserError
from raygen.pipeline.run import run_job
from raygen.program.job import load_job
from tests.ray import cases
from tests.ray.processes import Process, descendants, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

FULL = bool(os.environ.get("RAYGEN_FULL"))
ROWS = 20_000 if FULL else 5_000
CHUNK_ROWS = 50
# What happens, in this order, each time that the run has come a little further.
BLOWS = [
    "engine",
    "task",
    "driver",
    "node",
    "board",
    "engine",
    "task",
    "driver",
    "node",
    "engine",
    "engine",
    "driver",
]
ROUNDS = 3 if FULL else 1
NODE = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}
# A node that stopped answering is given up after 5 s, not 15: its work waits as long.
HEAD = {**NODE, "include_dashboard": False, "_system_config": {"health_check_period_ms": 1000}}
SEED = int(os.environ.get("RAYGEN_CHAOS_SEED", 5))


@dataclass
class Chaos:
    """A cluster, the driver of a run on it, and what was done to them."""

    cluster: Any
    folder: Path
    random: random.Random
    engines: tuple[str, ...] = ("ray::MapWorker",)  # by the titles of their processes
    driver: subprocess.Popen[bytes] | None = None
    done: Counter[str] = field(default_factory=Counter)

    @property
    def committed(self) -> int:
        return cases.commits_of(self.folder / "run")

    @property
    def log(self) -> Path:
        return self.folder / "driver.log"

    def wait_for(self, commits: int) -> None:
        wait_until(lambda: self.committed >= commits or self._ended(), 240, f"{commits} commits")
        assert not self._ended(), f"the driver ended early:\n{self.log.read_text()[-3000:]}"

    def _ended(self) -> bool:
        return self.driver is not None and self.driver.poll() is not None

    def start_driver(self) -> None:
        environment = {**os.environ, "RAY_ADDRESS": self.cluster.address}
        with self.log.open("ab") as log:
            command = cases.raygen("run", self.folder / "job.yaml")
            self.driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill_driver(self) -> None:
        assert self.driver is not None
        self.driver.kill()
        self.driver.wait()
        self.start_driver()

    def kill_worker(self, *titles: str) -> None:
        """Kill a process that Ray calls by one of these titles, as soon as there is one."""
        found: list[Process] = []  # looked at once: the tasks of Ray Data come and go within milliseconds

        def seen() -> bool:
            found[:] = self._workers(titles)
            return bool(found) or self._ended()

        wait_until(seen, 60, f"a process {titles}")
        assert found, f"the driver ended early:\n{self.log.read_text()[-3000:]}"
        self.random.choice(found).kill()

    def _workers(self, titles: tuple[str, ...]) -> list[Process]:
        return [each for each in descendants(os.getpid()) if each.command.startswith(titles)]

    def replace_node(self) -> None:
        """Take away a node without warning, by preference one with an engine; add another a little later."""
        nodes = list(self.cluster.worker_nodes)
        engines = {each.parent for each in self._workers(self.engines)}
        busy = [node for node in nodes if self._raylet(node) in engines]
        self.cluster.remove_node(self.random.choice(busy or nodes), allow_graceful=False)
        time.sleep(1)
        self.cluster.add_node(wait=False, **NODE)

    @staticmethod
    def _raylet(node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)

    def strike(self, blow: str) -> None:
        if blow == "driver":
            self.kill_driver()
        elif blow == "node":
            self.replace_node()
        elif blow == "engine":
            self.kill_worker(*self.engines)
        elif blow == "board":
            self.kill_worker("ray::Board")
        else:
            self.kill_worker("ray::MapBatches(read)", "ray::MapBatches(commit)")
        self.done[blow] += 1


@pytest.fixture
def chaos(tmp_path: Path) -> Iterator[Chaos]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    found = Chaos(cluster, tmp_path, random.Random(SEED))
    try:
        for _ in range(2):
            cluster.add_node(**NODE)
        yield found
    finally:
        if found.driver is not None:
            found.driver.kill()
            found.driver.wait()
        cluster.shutdown()


def test_a_run_survives_the_loss_of_engines_tasks_nodes_and_drivers(chaos: Chaos) -> None:
    began_s = time.monotonic()
    cases.write_job(
        chaos.folder,
        ROWS,
        CHUNK_ROWS,
        models=cases.echo_model(delay_s=0.8, concurrency=25),
        execution={"replicas": [3, 3], "chunks_in_flight": 2},
    )
    run, chunks = chaos.folder / "run", ROWS // CHUNK_ROWS
    blows = BLOWS * ROUNDS
    chaos.start_driver()
    for number, blow in enumerate(blows):
        chaos.wait_for(int((number + 0.5) * 0.7 * chunks / len(blows)))
        with pytest.raises(UserError, match="not finished"):  # what is there is not visible yet
            raygen.open_run(str(run))
        print(f"{time.monotonic() - began_s:6.1f} s  {chaos.committed:4} commits  {blow}", flush=True)
        chaos.strike(blow)
    assert chaos.driver is not None
    assert chaos.driver.wait(timeout=300) == 0, chaos.log.read_text()[-3000:]

    objects = cases.objects_of(run)
    cases.assert_exact(objects, cases.expected(ROWS, CHUNK_ROWS))
    view = raygen.open_run(str(run))
    assert (view.to_arrow().num_rows, view.dataset().count_rows()) == (ROWS, ROWS)
    written = sum(key.startswith("data/") for key in objects)
    recomputed = (written - chunks) / chunks
    print(
        f"chaos: {ROWS:,} rows in {time.monotonic() - began_s:.0f} s; "
        + ", ".join(f"{count} {blow}" for blow, count in sorted(chaos.done.items()))
        + f" killed; lost 0, doubled 0, dangling 0; written again {recomputed:.1%}"
    )
    assert chaos.done["engine"] + chaos.done["task"] >= 5
    assert chaos.done["node"] >= 2
    assert chaos.done["driver"] >= 3
    assert recomputed <= 0.15


@pytest.mark.skipif(not FULL, reason="a minute; RAYGEN_FULL=1 runs it")
def test_a_program_of_three_steps_with_pools_survives_the_loss_of_nodes(chaos: Chaos) -> None:
    """Generate, verify and refine on two pooled models, while nodes, replicas and drivers go: the outcomes of an inline run."""
    rows, chunk_rows = 2_000, 20
    pools = (cases.pooled(delay_s=0.4, concurrency=25), cases.pooled(delay_s=0.1, concurrency=25))
    path = cases.two_models(chaos.folder, rows, chunk_rows, *pools)
    chaos.engines = ("ray::Replica",)
    blows = ["node", "engine", "driver", "node", "engine", "node"]
    chaos.start_driver()
    for number, blow in enumerate(blows):
        chaos.wait_for(int((number + 0.5) * 0.7 * rows / chunk_rows / len(blows)))
        chaos.strike(blow)
    assert chaos.driver is not None
    assert chaos.driver.wait(timeout=300) == 0, chaos.log.read_text()[-3000:]
    alone = load_job(
        path, [f"output={chaos.folder / 'inline'}", "models.writer.options={}", "models.nli.options={}"]
    )
    assert run_job(alone, inline=True).exit_code == 0
    names = ["row_id", "status", "reason", "samples", "discarded", "attempts", "calls"]
    found, inline = (
        raygen.open_run(str(chaos.folder / name)).to_arrow().select(names) for name in ("run", "inline")
    )
    assert found.equals(inline)
    written = sum(key.startswith("data/") for key in cases.objects_of(chaos.folder / "run"))
    print(
        f"chaos with pools: {dict(chaos.done)} killed; written again {(written * chunk_rows - rows) / rows:.1%}"
    )
