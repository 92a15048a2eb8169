"""`raygen submit` against a head of our own with a dashboard on loopback and a token."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ray import cases
from tests.ray.processes import descendants, end_tree, of_session, wait_until

pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Head:
    url: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    binaries = Path(sys.executable).parent
    environment = {
        **cases.alone(),
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # stay on 127.0.0.1
    }
    port, dashboard = _free_port(), _free_port()
    log = tmp_path_factory.mktemp("head") / "log"
    command = [
        f"{binaries}/ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        "--num-cpus=2", f"--object-store-memory={200 * 2**20}", "--disable-usage-stats",
    ]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: _answers(dashboard) and "--block" in log.read_text(), 90, "the head")
        yield Head(f"http://127.0.0.1:{dashboard}", environment)
    finally:
        end_tree(process.pid)
        for orphan in of_session(process.pid):
            orphan.kill()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def submit(
    head: Head, folder: Path, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cases.raygen("submit", "job.yaml", "--address", head.url, *arguments),
        cwd=folder,
        env={**head.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_submitted_job_is_followed_to_its_end(head: Head, tmp_path: Path) -> None:
    cases.write_job(tmp_path, 60, 10, source={"format": "parquet", "uri": "rows.parquet", "key": "id"})
    done = submit(head, tmp_path, "--output", tmp_path / "there", "--set", "execution.chunks_in_flight=2")
    assert done.returncode == 0, done.stderr
    assert "60 of 60 rows have an outcome: 60 accepted" in done.stdout
    assert (done.stderr.count("\n"), done.stderr[:20]) == (1, "submitted raysubmit_"), done.stderr
    cases.assert_exact(cases.objects_of(tmp_path / "there"), cases.expected(60, 10))


@pytest.mark.full
def test_a_submitted_job_ends_with_its_own_exit_code(head: Head, tmp_path: Path) -> None:
    cases.write_job(tmp_path, 60, 10)
    failed = submit(head, tmp_path, "--set", "models.writer.options={context_tokens: 3}")
    assert (failed.returncode, "60 failed" in failed.stdout) == (3, True), failed.stderr
    unknown = submit(head, tmp_path, "--set", "keep=[nope]", "--output", tmp_path / "other")
    assert (unknown.returncode, "no column 'nope'" in unknown.stdout) == (2, True), unknown.stderr


@pytest.mark.full
def test_a_submitted_job_outlives_ctrl_c_and_says_so(head: Head, tmp_path: Path) -> None:
    cases.write_job(tmp_path, 60, 10, models=cases.echo_model(delay_s=1, concurrency=10))
    with subprocess.Popen(
        cases.raygen("submit", "job.yaml", "--address", head.url),
        cwd=tmp_path,
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # of the log that it follows
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
    assert "goes on; to end it: ray job stop" in err
    assert "Traceback" not in err
    wait_until(lambda: (tmp_path / "run" / "manifest.json").is_file(), 90, "the job to finish")


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--address", "http://127.0.0.1:1"], {}, ["127.0.0.1:1", "no Ray job server"]),
        (["--address", "127.0.0.1:8265"], {}, ["http://127.0.0.1:8265"]),
        ([], {"RAY_AUTH_MODE": "disabled"}, ["RAY_AUTH_TOKEN", "Missing authentication token"]),
        ([], {"RAY_AUTH_TOKEN": "b" * 64}, ["RAY_AUTH_TOKEN", "Invalid authentication token"]),
        (["--set", "seede=1"], {}, ["seede"]),
        (["--max-rows", "some"], {}, ["--max-rows", "some"]),
        (["--output", "runs/here"], {}, ["runs/here", "s3://"]),
        (["--working-dir", "/usr"], {}, ["job.yaml", "--working-dir"]),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    head: Head, tmp_path: Path, arguments: list[str], environment: dict[str, str], words: list[str]
) -> None:
    cases.write_job(tmp_path, 60, 10)
    refused = submit(head, tmp_path, *arguments, **environment)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    for word in words:
        assert word in refused.stderr


def test_no_engine_of_a_submitted_job_stays_behind(head: Head) -> None:
    titles = ("ray::MapWorker", "ray::Board")
    wait_until(
        lambda: not any(each.command.startswith(titles) for each in descendants(os.getpid())),
        30,
        "engines of submitted jobs to end",
    )
