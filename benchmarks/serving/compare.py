"""Serving side by side: `python -m benchmarks.serving.compare --servers inline serve vllm --workloads chat_32 chat_1`.

Servers take turns, one at a time; the client shares the cores with each. Nothing else may run beside it.

| workload  | what is asked                                                         | figure                                  |
|-----------|-----------------------------------------------------------------------|-----------------------------------------|
| chat_C    | chats (greedy, at most 128 new tokens), C under way                   | output tokens/s, TTFT, gaps, CPU        |
| prefix    | eight prompts of about 512 tokens, 32 questions each, 8 under way     | TTFT                                    |
| long      | prompts of about 1,000 tokens, 16 new                                 | TTFT                                    |
| load_P    | chats at random moments, at P percent of what chat_32 was answered at | answers with TTFT <= 2 s, a second      |
| echo_C    | no model (raygen alone), C under way, not streamed                    | requests/s, latency                     |
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.serving.client import Call, chat, closed, poisson
from benchmarks.serving.servers import SERVERS, Server, running
from benchmarks.text.prompts import Prompt, chat_prompts

GOOD_TTFT_S = 2.0


def prefix_prompts(groups: int = 8, each: int = 32) -> list[Prompt]:
    """Questions that share long beginnings, in turns."""
    texts = [
        f"Notes, part {group}. "
        + " ".join(f"Item {group}.{n} is kept in room {n * group}." for n in range(45))
        for group in range(1, groups + 1)
    ]
    return [
        Prompt((("system", texts[n % groups]), ("user", f"Where is item {n % groups + 1}.{n}?")), 16)
        for n in range(groups * each)
    ]


def long_prompts(count: int = 48) -> list[Prompt]:
    """Different texts of about 1,000 tokens."""
    return [
        Prompt((("user", " ".join(f"Line {n}.{m} says {n * m}." for m in range(100)) + " Sum up."),), 16)
        for n in range(count)
    ]


def percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def figures(calls: list[Call], work_s: float, cpu_s: float) -> dict[str, float]:
    good = [call for call in calls if call.status == 200]
    gaps = [gap for call in good for gap in call.gaps_s]
    streamed = [call.ttft_s for call in good if call.pieces]
    return {
        "answered": len(good),
        "refused": sum(call.status == 429 for call in calls),
        "failed": sum(call.status not in (200, 429) for call in calls),
        "requests_per_s": len(good) / work_s,
        "tokens_per_s": sum(call.tokens for call in good) / work_s,
        "ttft_p50_s": percentile(streamed, 0.5),
        "ttft_p95_s": percentile(streamed, 0.95),
        "gap_p50_s": percentile(gaps, 0.5),
        "gap_p99_s": percentile(gaps, 0.99),
        "whole_p50_s": percentile([call.ended_s - call.began_s for call in good], 0.5),
        "goodput_per_s": sum(ttft <= GOOD_TTFT_S for ttft in streamed) / work_s,
        "server_cores": cpu_s / work_s,
    }


async def work(server: Server, workload: str, rows: int, capacity: float) -> dict[str, float]:
    kind, _, number = workload.partition("_")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(900)) as session:
        ask = partial(chat, session, server.url, server.model)
        whole = partial(chat, session, server.url, server.model, stream=False)
        before, began = server.cpu_s(), time.perf_counter()
        if kind == "chat":
            calls = await closed(ask, chat_prompts(rows), int(number))
        elif kind == "prefix":
            calls = await closed(ask, prefix_prompts(), 8)
        elif kind == "long":
            calls = await closed(ask, long_prompts(), 4)
        elif kind == "load":
            rate = capacity * int(number) / 100
            calls = await poisson(ask, chat_prompts(max(rows, int(30 * rate))), rate)
        elif kind == "echo":
            calls = await closed(whole, chat_prompts(4000 if int(number) > 1 else 500), int(number))
        else:
            raise SystemExit(f"no workload {workload!r}")
        return figures(calls, time.perf_counter() - began, server.cpu_s() - before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=["inline", "vllm"])
    parser.add_argument("--workloads", nargs="+", default=["chat_32", "chat_1", "chat_8", "prefix"])
    parser.add_argument("--pairs", type=int, default=3, help="turns of each server")
    parser.add_argument("--rows", type=int, default=256, help="chats of a workload")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument(
        "--capacity", type=float, default=2.0, help="chats a second, for load_P without chat_32"
    )
    given = parser.parse_args()
    echo = all(name.startswith("echo") for name in given.workloads)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    folder = Path(tempfile.mkdtemp(prefix="raygen-serving-"))
    for turn in range(given.pairs):
        for name in given.servers:
            with running(name, folder / str(turn), echo=echo, dtype=given.dtype) as server:
                print(
                    f"{name}: first token {server.first_token_s:.1f} s, {server.memory_mb():.0f} MB",
                    flush=True,
                )
                mine = found.setdefault(name, {})
                start = {"first_token_s": server.first_token_s, "memory_mb": server.memory_mb()}
                mine.setdefault("start", []).append(start)
                asyncio.run(work(server, "echo_1" if echo else "chat_8", 16, 1.0))  # warm
                capacity = given.capacity
                for workload in given.workloads:
                    figure = asyncio.run(work(server, workload, _rows(workload, given.rows), capacity))
                    if workload == "chat_32":
                        capacity = figure["requests_per_s"]
                    mine.setdefault(workload, []).append(figure)
                    shown = "  ".join(f"{key} {value:.3g}" for key, value in figure.items())
                    print(f"{name} {workload}: {shown}", flush=True)
    print(json.dumps({"benchmark": "serving", "medians": medians(found)}))


def _rows(workload: str, rows: int) -> int:
    """Return how many chats: fewer where few are under way, which would take long."""
    return {"chat_1": min(rows, 12), "chat_8": min(rows, 64)}.get(workload, rows)


def medians(found: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, Any]:
    return {
        server: {
            workload: {key: round(statistics.median(run[key] for run in runs), 4) for key in runs[0]}
            for workload, runs in workloads.items()
        }
        for server, workloads in found.items()
    }


if __name__ == "__main__":
    main()
