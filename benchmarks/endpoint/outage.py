"""Whole runs over an endpoint that goes away for a while, and over one that was never there.

    python -m benchmarks.endpoint.outage [--rows 2000] [--away-s 150] [--after 40] [--way inline|ray]

Default settings of the engine. Prints what became of the rows, how long it took, and the last progress line of the outage.
Ends with exit code 1 if a row failed, or the wrong port was not refused within 60 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.endpoint.mock import MockEndpoint, MockOptions
from benchmarks.scale.rows import write_input

LATENCY_S = 0.37


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def serve(port: int, after: int, away_s: float) -> None:
    """Answer so many requests, close the port for so long, then answer all."""
    options = MockOptions(latency_s=LATENCY_S)
    async with MockEndpoint(options, port) as mock:
        while mock.counters.answered - mock.counters.in_flight < after:
            await asyncio.sleep(0.01)
    await asyncio.sleep(away_s)
    async with MockEndpoint(options, port):
        await asyncio.Event().wait()


def run(folder: Path, port: int, way: str, name: str, log: Path) -> tuple[int, float, dict[str, Any]]:
    """Run the job; return its exit code, its seconds and its status."""
    job = {
        "name": name,
        "source": {"format": "parquet", "uri": str(folder / "in.parquet"), "key": "id"},
        "models": {
            "writer": {
                "family": "causal_lm",
                "engine": "openai",
                "ref": "mock",
                "options": {"base_url": f"http://127.0.0.1:{port}/v1"},
            }
        },
        "steps": [{"generate": {"model": "writer", "prompt": "{{ text }}", "sampling": {"max_tokens": 16}}}],
        "output": str(folder / name),
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(job))
    command = [sys.executable, "-m", "raygen"]
    began_s = time.monotonic()
    with log.open("w") as stream:
        done = subprocess.run(
            [*command, "run", str(folder / f"{name}.yaml"), *(["--inline"] if way == "inline" else [])],
            stdout=stream,
            stderr=stream,
            check=False,
        )
    wall_s = time.monotonic() - began_s
    said = subprocess.run(
        [*command, "status", str(folder / name), "--json"], capture_output=True, text=True, check=True
    )
    return done.returncode, wall_s, json.loads(said.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--away-s", type=float, default=150.0)
    parser.add_argument("--after", type=int, default=40, help="answers before it goes away")
    parser.add_argument("--way", default="inline", choices=["inline", "ray"])
    arguments = parser.parse_args()
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_input(folder / "in.parquet", arguments.rows)

        code, wall_s, status = run(folder, free_port(), arguments.way, "wrong-port", folder / "log")
        print((folder / "log").read_text().strip())
        print(
            f"wrong port: exit code {code} after {wall_s:.1f} s; {status['state']}, {status['rows']}",
            flush=True,
        )
        if code != 2 or wall_s > 60 or status["rows"]["failed"]:
            failures.append("the wrong port")

        port = free_port()
        serving = serve(port, arguments.after, arguments.away_s)
        threading.Thread(target=lambda: asyncio.run(serving), daemon=True).start()
        code, wall_s, status = run(folder, port, arguments.way, "outage", folder / "log")
        lines = (folder / "log").read_text().strip().splitlines()
        print("\n".join([line for line in lines if "does not answer" in line][-1:] + lines[-4:]))
        print(
            f"away for {arguments.away_s:g} s after {arguments.after} answers: exit code {code} after {wall_s:.1f} s; "
            f"{status['state']}, {status['rows']}"
        )
        if code != 0 or status["rows"]["accepted"] != arguments.rows:
            failures.append("the outage")
    if failures:
        raise SystemExit(f"not as it should be: {', '.join(failures)}")


if __name__ == "__main__":
    main()
