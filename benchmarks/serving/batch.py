"""A large batch file through the batch API, with the echo engine: `python -m benchmarks.serving.batch [--lines 50000]`.

Uploads a file of lines of 1 kB over HTTP, makes a batch of it, and tells how long each part takes and how much memory the server
takes on top.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CHAT = "/v1/chat/completions"
BOUNDARY = "raygen-benchmark"
CONFIG = "models: {{echo: {{family: causal_lm, engine: echo}}}}\nstore: {store}\n"


class Server:
    """`raygen serve --inline` in a process of its own, whose memory is watched."""

    def __init__(self, folder: Path) -> None:
        config = folder / "service.yaml"
        config.write_text(CONFIG.format(store=folder / "store"))
        command = [sys.executable, "-m", "raygen", "serve", str(config), "--inline", "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        for said in self.process.stdout:
            if "serving" in said:
                self.port = int(said.split("://")[1].split(":")[1].split("/")[0])
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self._listening()
        self.idle_mb = self.peak_mb = self.memory_mb()
        threading.Thread(target=self._watch, daemon=True).start()

    def _listening(self) -> None:
        for _ in range(100):
            try:
                self.ask("GET", "/health/live")
                return
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise SystemExit("the server does not listen")

    def memory_mb(self) -> float:
        for each in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if each.startswith("VmRSS"):
                return int(each.split()[1]) / 1024
        return 0.0

    def _watch(self) -> None:
        while self.process.poll() is None:
            try:
                self.peak_mb = max(self.peak_mb, self.memory_mb())
            except OSError:
                return
            time.sleep(0.05)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data[:500]
        return data


def made_file(path: Path, lines: int, size_bytes: int = 1000) -> None:
    """Write a batch file as the one part of a multipart body."""
    with path.open("wb") as file:
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
        )
        file.write(head.encode())
        for number in range(lines):
            body = {"model": "echo", "messages": [{"role": "user", "content": f"{number} "}]}
            line = {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body}
            missing = size_bytes - len(json.dumps(line)) - 1
            body["messages"][0]["content"] += "x" * missing  # type: ignore[index]
            file.write(json.dumps(line).encode() + b"\n")
        file.write(f"\r\n--{BOUNDARY}--\r\n".encode())


def measure(lines: int, folder: Path) -> dict[str, float]:
    server = Server(folder)
    try:
        # Once before: what is loaded at the first batch, such as Arrow, is no memory of a large one.
        _batch(server, folder, 10)
        server.idle_mb = server.peak_mb = server.memory_mb()
        return _batch(server, folder, lines)
    finally:
        server.process.terminate()
        server.process.wait(60)


def _batch(server: Server, folder: Path, lines: int) -> dict[str, float]:
    upload = folder / "upload"
    made_file(upload, lines)
    found: dict[str, float] = {}
    began_s = time.monotonic()
    multipart = {
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        "content-length": str(upload.stat().st_size),
    }
    with upload.open("rb") as file:
        name = json.loads(server.ask("POST", "/v1/files", file, multipart))["id"]
    found["POST file, s"] = time.monotonic() - began_s
    asked = {"input_file_id": name, "endpoint": CHAT, "completion_window": "24h"}
    began_s = time.monotonic()
    batch = json.loads(server.ask("POST", "/v1/batches", json.dumps(asked)))
    while batch["status"] not in ("completed", "failed"):
        batch = json.loads(server.ask("GET", f"/v1/batches/{batch['id']}"))
        passed_s = time.monotonic() - began_s
        if batch["model"]:
            found.setdefault("validation, s", passed_s)
        if batch["status"] == "in_progress":
            found.setdefault("planned, s", passed_s)
        if batch["request_counts"]["completed"]:
            found.setdefault("first rows, s", passed_s)
        if batch["status"] == "finalizing":
            found.setdefault("all rows, s", passed_s)
        time.sleep(0.05)
    assert batch["request_counts"]["completed"] == lines, batch
    found["completed, s"] = time.monotonic() - began_s
    began_s = time.monotonic()
    content = server.ask("GET", f"/v1/files/{batch['output_file_id']}/content")
    found["download, s"] = time.monotonic() - began_s
    assert content.count(b"\n") == lines
    found["server before, MB"], found["server at most, MB"] = server.idle_mb, server.peak_mb
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measure(options.lines, Path(folder)).items():
            print(f"{name:24} {value:8.2f}")


if __name__ == "__main__":
    main()
