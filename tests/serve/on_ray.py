"""Services for tests: `raygen serve`, on Ray and inline, in processes of their own, with models that need no weights."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.ray.processes import Process, descendants, end_tree, wait_until
from tests.serve.talker import talker

ROOT = Path(__file__).parents[2]
START_S = 120.0

SMALL = {"cpus_per_replica": 0.1}
MODELS: dict[str, Any] = {
    "echo": {"family": "causal_lm", "engine": "echo", **SMALL},
    "talker": talker(replicas=[2, 2], options={"concurrency": 64}, **SMALL),
    "slow": {"family": "causal_lm", "engine": "echo", "options": {"delay_s": 0.6, "concurrency": 8}, **SMALL},
    # Started when somebody asks, and gone when nobody does.
    "minilm": {"family": "embedder", "engine": "echo", "replicas": [0, 1], "idle_s": 30, **SMALL},
    "nli": {"family": "classifier", "engine": "echo", "replicas": [0, 1], "idle_s": 30, **SMALL},
    "painter": {"family": "diffusion", "engine": "echo", "replicas": [0, 1], "idle_s": 30, **SMALL},
    # One at a time, one who waits, and gone soon.
    "sleeper": talker(
        replicas=[0, 1], idle_s=2, bound=1, options={"concurrency": 1, "words": 10, "pause_s": 0.1}, **SMALL
    ),
}


@dataclass(frozen=True)
class OnRay:
    """The running service.

    Attributes:
        url: without a slash at its end.
        pid: of `raygen serve`.
        config: its file.
    """

    url: str
    pid: int
    config: Path
    token: str

    def processes(self, title: str) -> list[Process]:
        """Return its processes whose title holds this: `gateway`, `model_echo`, `ProxyActor`, `ServeController`."""
        return [process for process in descendants(self.pid) if title in process.command]

    def one(self, title: str) -> Process:
        """Wait for such a process, and return the first."""
        wait_until(lambda: bool(self.processes(title)), 30, f"a process {title}")
        return self.processes(title)[0]

    def driver(self, code: str, *arguments: str) -> str:
        """Run Python that is connected to its Ray, and return what it prints."""
        [raylet] = self.processes("raylet/raylet")
        found = re.search(r"--gcs-address=(\S+)", raylet.command)
        assert found is not None
        done = subprocess.run(
            [sys.executable, "-c", PREAMBLE + code, *arguments],
            env={**environment(self.token), "RAY_ADDRESS": found[1]},
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def healthy(self, timeout_s: float = 30.0) -> float:
        """Wait until a chat is answered; returns the seconds it took."""
        begun_s = time.monotonic()
        wait_until(self._answers, timeout_s, "an answer")
        return time.monotonic() - begun_s

    def _answers(self) -> bool:
        try:
            return self.chat("echo", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def chat(self, model: str, text: str = "hi", timeout: float = 30, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=timeout)


PREAMBLE = """
from raygen.serve.cluster.environment import set_variables
set_variables()
from raygen.cluster.connect import connected
import sys
_connection = connected(); _connection.__enter__()
"""


def environment(token: str) -> dict[str, str]:
    """Return the environment of `raygen serve`: Ray's workers import the tests' engines, too."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYGEN_"))}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "RAY_AUTH_TOKEN": token, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@contextmanager
def on_ray(folder: Path, **config: Any) -> Iterator[OnRay]:
    """Run `raygen serve` for the length of a `with`.

    Args:
        folder: for its configuration and its store.
        config: keys of the configuration, beside the store and the models.
    """
    path = _config(folder, config)
    token = secrets.token_hex(32)
    with _serving(folder, token, str(path)) as (url, pid):
        yield OnRay(url, pid, path, token)


@contextmanager
def inline(folder: Path, **config: Any) -> Iterator[str]:
    """Run `raygen serve --inline` for the length of a `with`; yields its URL. The models are the same."""
    path = _config(folder, config)
    with _serving(folder, "-", str(path), "--inline") as (url, _):
        wait_until(lambda: _lives(url), 30, "the service to listen")
        yield url


def _lives(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.HTTPError:
        return False


def _config(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "service.yaml"
    path.write_text(json.dumps({"store": str(folder / "store"), "models": MODELS, **config}))  # JSON is YAML
    return path


@contextmanager
def _serving(folder: Path, token: str, *arguments: str) -> Iterator[tuple[str, int]]:
    with open(folder / "out", "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "raygen", "serve", *arguments, "--port", "0"],
            env=environment(token),
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        yield _url(folder / "out", process), process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            end_tree(process.pid)
            raise


def _url(out: Path, process: subprocess.Popen[bytes]) -> str:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        if found := re.search(r"http://(127\.0\.0\.1:\d+)/v1", out.read_text()):
            return f"http://{found[1]}"
        time.sleep(0.05)
    raise AssertionError(f"the service did not start: {out.read_text()[-3000:]}")
