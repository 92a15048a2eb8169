"""The mock endpoint on a thread of its own, for tests of whole runs; and a job that asks it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.endpoint.mock import MockEndpoint, MockOptions
from tests.engines.asked import Respond


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(respond: Respond | None = None, port: int = 0, latency_s: float = 0.001) -> Iterator[MockEndpoint]:
    """Run the mock for the length of a `with`."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()
    endpoint = MockEndpoint(MockOptions(latency_s=latency_s), port, respond)

    async def main() -> None:
        async with endpoint:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


def endpoint_job(folder: Path, url: str, rows: list[str], **options: Any) -> Path:
    """Write a job whose prompts are these texts, and return its path; its run directory is `run` beside it."""
    (folder / "in.jsonl").write_bytes(
        b"\n".join(orjson.dumps({"id": f"r{n}", "q": text}) for n, text in enumerate(rows))
    )
    spec = {
        "family": "causal_lm",
        "engine": "openai",
        "ref": "x",
        "options": {"base_url": url, "start_patience_s": 0.5, **options},
    }
    job = {
        "name": "d",
        "source": {"format": "jsonl", "uri": str(folder / "in.jsonl"), "key": "id"},
        "models": {"writer": spec},
        "steps": [{"generate": {"model": "writer", "prompt": "{{ q }}"}}],
        "sink": {"chunk_rows": 4},
        "output": str(folder / "run"),
    }
    path = folder / "job.yaml"
    path.write_bytes(orjson.dumps(job))  # JSON is YAML
    return path
