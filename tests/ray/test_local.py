"""`raygen run` with a Ray of its own, as a user starts it: calm, on loopback only, and gone when it ends."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ray import cases
from tests.ray.processes import (
    Process,
    descendants,
    listeners,
    of_session,
    read_process,
    wait_until,
)

pytestmark = pytest.mark.ray

Cli = Callable[..., Any]


def nothing_left(session: int) -> bool:
    return not of_session(session)


def slow_job(folder: Path) -> Path:
    """400 rows in 40 chunks, about 12 s of work."""
    return cases.write_job(
        folder,
        400,
        10,
        models=cases.echo_model(delay_s=0.3, concurrency=10),
        execution={"chunks_in_flight": 1},
    )


def test_a_local_run_is_calm_listens_on_loopback_only_and_leaves_nothing(tmp_path: Path) -> None:
    job = cases.write_job(tmp_path, 60, 10, models=cases.echo_model(delay_s=0.5, concurrency=10))
    seen: dict[tuple[int, str, int], Process] = {}
    niceness: set[int] = set()  # of the engine
    with cases.started(cases.raygen("run", job)) as process:
        while process.poll() is None:
            tree = [*filter(None, [read_process(process.pid)]), *descendants(process.pid)]
            seen |= {(each.pid, address, port): each for each, address, port in listeners(tree)}
            with contextlib.suppress(ProcessLookupError):
                niceness |= {
                    os.getpriority(os.PRIO_PROCESS, each.pid) for each in tree if "Generate" in each.command
                }
        out, err = process.communicate()
        assert process.returncode == 0, err
        wait_until(lambda: nothing_left(process.pid), 10, "Ray's processes to end")
    exposed = [
        (address, port, process.command)
        for (_, address, port), process in seen.items()
        if not _is_loopback(address)
    ]
    assert not exposed
    assert len(seen) > 5  # or nobody looked
    assert niceness == {os.getpriority(os.PRIO_PROCESS, 0)}  # or Ray's own processes would stop its threads
    assert [line.split(":")[0].split(" rows")[0] for line in out.splitlines()] == [
        "60 of 60",
        "outputs",
        "report",
    ]
    noise = [line for line in err.splitlines() if "/60 rows · " not in line]
    assert not noise


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_keeps_what_is_committed(cli: Cli, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches the whole process group, as from a terminal; SIGTERM the command alone, as from a scheduler."""
    with cases.started(cases.raygen("run", slow_job(tmp_path), "-q")) as process:
        wait_until(lambda: (tmp_path / "run" / "commits").is_dir(), 90, "the first commit")
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
        wait_until(lambda: nothing_left(process.pid), 10, "Ray's processes to end")
    assert process.returncode == 130, err
    assert err == "stopped: interrupted. Run the same command again to resume\n"
    committed = cases.commits_of(tmp_path / "run")
    assert 0 < committed < 40
    assert out.startswith(f"{committed * 10} of 400 rows have an outcome: ")
    quick = ("--set", "models.writer.options={}")
    assert cli("run", tmp_path / "job.yaml", "--inline", "-q", *quick).code == 0
    cases.assert_exact(cases.objects_of(tmp_path / "run"), cases.expected(400, 10))


def test_a_second_ctrl_c_abandons_the_chunks_in_flight(tmp_path: Path) -> None:
    job = cases.write_job(
        tmp_path,
        40,
        10,
        models=cases.echo_model(delay_s=60, concurrency=10),
        execution={"chunks_in_flight": 1},
    )
    with cases.started(cases.raygen("run", job)) as process:
        wait_until(
            lambda: any("Generate" in each.command for each in of_session(process.pid)), 90, "an engine"
        )
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        line = ""
        while "interrupted" not in line:
            line = process.stderr.readline()
            assert line
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        wait_until(lambda: nothing_left(process.pid), 10, "Ray's processes to end")
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith(
        "raygen: abandoned the chunks in flight; run the same command again"
    )
    assert "Traceback" not in err


def test_a_killed_command_leaves_no_engine_behind(tmp_path: Path) -> None:
    pooled = ("--set", "models.writer.placement=pooled")
    with cases.started(cases.raygen("run", slow_job(tmp_path), "-q", *pooled)) as process:
        wait_until(lambda: (tmp_path / "run" / "commits").is_dir(), 90, "the first commit")
        assert any("Replica" in each.command for each in of_session(process.pid))
        process.kill()
        process.wait()
        # Ray's two agents of a node follow after a minute: they try to tell the dead cluster first.
        agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
        wait_until(
            lambda: all(p.command in agents for p in of_session(process.pid)), 60, "Ray's processes to end"
        )


def test_one_logical_cpu_is_enough_for_an_elastic_job(tmp_path: Path) -> None:
    """[1, 4] engines of a quarter each would take the one CPU whole, and the reads would starve."""
    job = cases.write_job(
        tmp_path,
        120,
        10,
        models=cases.echo_model(delay_s=0.2, concurrency=10),
        execution={"replicas": [1, 4], "chunks_in_flight": 1},
    )
    one_cpu = (
        "import os, sys; os.environ['RAY_AUTH_MODE'] = 'disabled'; import ray; "
        "ray._private.ray_constants.ENABLE_RAY_CLUSTER = False; "
        "ray.init(address='local', num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address='127.0.0.1'); "
        "from raygen.cli.app import main; main()"
    )
    with cases.started([sys.executable, "-c", one_cpu, "run", str(job), "-q"]) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    cases.assert_exact(cases.objects_of(tmp_path / "run"), cases.expected(120, 10))
