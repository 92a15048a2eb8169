"""A client that costs little: streamed and whole chats over aiohttp, with the time of every piece."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from benchmarks.text.prompts import Prompt


@dataclass(slots=True)
class Call:
    """What became of one request. Times are seconds; `pieces` are since it was sent."""

    status: int = 0
    began_s: float = 0.0
    ended_s: float = 0.0
    tokens: int = 0
    pieces: list[float] = field(default_factory=list)
    retry_after: str | None = None

    @property
    def ttft_s(self) -> float:
        return self.pieces[0] if self.pieces else float("inf")

    @property
    def gaps_s(self) -> list[float]:
        return [after - before for before, after in zip(self.pieces, self.pieces[1:], strict=False)]


async def chat(
    session: aiohttp.ClientSession, url: str, model: str, prompt: Prompt, stream: bool = True
) -> Call:
    """Ask once, greedily, and never again."""
    body: dict[str, Any] = {
        "model": model,
        "messages": prompt.chat(),
        "max_tokens": prompt.max_tokens,
        "temperature": 0,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    call = Call(began_s=time.perf_counter())
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            call.status = answer.status
            call.retry_after = answer.headers.get("retry-after")
            if stream and answer.status == 200:
                await _read_stream(answer, call)
            else:
                found = await answer.read()
                if answer.status == 200:
                    call.tokens = orjson.loads(found)["usage"]["completion_tokens"]
    except (aiohttp.ClientError, TimeoutError):
        call.status = -1
    call.ended_s = time.perf_counter()
    return call


async def _read_stream(answer: aiohttp.ClientResponse, call: Call) -> None:
    async for line in answer.content:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        event = orjson.loads(line[6:])
        if "error" in event:
            call.status = -2
            return
        if event.get("usage"):
            call.tokens = event["usage"]["completion_tokens"]
        if event["choices"] and event["choices"][0]["delta"].get("content"):
            call.pieces.append(time.perf_counter() - call.began_s)


Ask = Callable[[Prompt], Awaitable[Call]]


async def closed(ask: Ask, prompts: Sequence[Prompt], at_once: int) -> list[Call]:
    """Keep `at_once` requests under way until all prompts are answered."""
    waiting = iter(prompts)
    calls: list[Call] = []

    async def walk() -> None:
        for prompt in waiting:
            calls.append(await ask(prompt))

    await asyncio.gather(*(walk() for _ in range(at_once)))
    return calls


async def poisson(ask: Ask, prompts: Sequence[Prompt], rate: float, seed: int = 1) -> list[Call]:
    """Send requests at random moments, `rate` a second on average, whether earlier ones are answered or not."""
    draws, tasks, next_s = random.Random(seed), [], time.perf_counter()
    for prompt in prompts:
        next_s += draws.expovariate(rate)
        await asyncio.sleep(max(0.0, next_s - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(prompt)))
    return list(await asyncio.gather(*tasks))
