"""Chats beside a batch: `python -m benchmarks.serving.beside`. The service is SIGKILLed in the middle, and started again.

Chats come at random moments, 0.3 a second, first to an idle service, then beside a batch of 2,000 lines. Printed: the time to the
first token of both, what became of the batch, and how soon it went on after the kill. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import openai
import yaml

from benchmarks.serving.client import Call, chat, poisson
from benchmarks.serving.compare import percentile
from benchmarks.serving.servers import raygen_config
from benchmarks.text.prompts import chat_prompts

RATE = 0.3
CHAT = "/v1/chat/completions"


def start(config: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "raygen", "serve", str(config), "--inline", "--port", str(port)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return process
        if process.poll() is not None:
            raise SystemExit("the service ended")
        time.sleep(0.1)


async def chats(url: str, count: int, seed: int) -> list[Call]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(300)) as session:
        return await poisson(partial(chat, session, url, "smol"), chat_prompts(count, 64), RATE, seed)


def told(name: str, calls: list[Call]) -> dict[str, float]:
    waits = [call.ttft_s for call in calls if call.status == 200]
    found = {"n": len(waits), "p50_s": percentile(waits, 0.5), "p95_s": percentile(waits, 0.95)}
    print(f"{name}: " + "  ".join(f"{key} {value:.3g}" for key, value in found.items()), flush=True)
    return found


def batch_lines(count: int) -> bytes:
    lines = []
    for number, prompt in enumerate(chat_prompts(count, 64)):
        body: dict[str, Any] = {
            "model": "smol",
            "messages": prompt.chat(),
            "max_tokens": 64,
            "temperature": 0,
        }
        lines.append(json.dumps({"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body}))
    return ("\n".join(lines) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--chats", type=int, default=30)
    parser.add_argument("--port", type=int, default=8961)
    parser.add_argument("--batch", type=int, default=64, help="samples that the engine steps at once")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="raygen-beside-"))
    config, url = folder / "service.yaml", f"http://127.0.0.1:{given.port}"
    options = {"max_batch": given.batch}
    config.write_text(yaml.safe_dump(raygen_config(str(folder / "store"), False, "bfloat16", options)))
    process = start(config, given.port)
    try:
        asyncio.run(chats(url, 3, 9))
        idle = told("idle", asyncio.run(chats(url, given.chats, 1)))
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=5)
        file = client.files.create(file=("lines.jsonl", batch_lines(given.lines)), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id
        began = time.time()
        while not client.batches.retrieve(batch).request_counts.completed:
            time.sleep(0.5)
        beside = told("beside the batch", asyncio.run(chats(url, given.chats, 2)))
        done = client.batches.retrieve(batch).request_counts.completed
        print(f"{done} of {given.lines} lines; now SIGKILL", flush=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed = time.time()
        process = start(config, given.port)
        ready_s = time.time() - killed
        while client.batches.retrieve(batch).request_counts.completed <= done:
            time.sleep(0.1)
        print(
            f"ready again after {ready_s:.1f} s, the next commit after {time.time() - killed:.1f} s",
            flush=True,
        )
        while (state := client.batches.retrieve(batch)).status != "completed":
            time.sleep(0.5)
        assert state.output_file_id is not None
        found = client.files.content(state.output_file_id).text.splitlines()
        again = client.files.content(state.output_file_id).text.splitlines()
        names = [json.loads(line)["custom_id"] for line in found]
        figures = {
            "idle": idle,
            "beside": beside,
            "p95_ratio": beside["p95_s"] / idle["p95_s"],
            "batch_s": time.time() - began,
            "counts": state.request_counts.model_dump(),
            "once_each": sorted(names) == sorted(f"r{n}" for n in range(given.lines)),
            "read_twice_alike": found == again,
            "tokens": state.usage.output_tokens if state.usage is not None else None,
        }
        print(json.dumps({"benchmark": "serving_beside", **figures}))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


if __name__ == "__main__":
    main()
