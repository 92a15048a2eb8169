"""Coalesce: pieces of texts that come one token at a time, as fewer and larger ones: each costs a server as much as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from raygen.engines.requests import GenerateChunk

EVERY_S = 0.04


async def coalesced(
    sources: Sequence[AsyncIterator[GenerateChunk]], samples: int, every_s: float = EVERY_S
) -> AsyncGenerator[GenerateChunk, None]:
    """Yield the pieces of several prompts' texts as one stream: a text's first piece and its last at once, others in between.

    Whoever reads slowly gets larger pieces; nothing else piles up.

    Args:
        sources: of one prompt each.
        samples: of each prompt: those of source i come under the indexes from i * samples on.
        every_s: the least time between two pieces, of all texts together.

    Raises what the sources raise, after the pieces that came before.
    """
    loop = asyncio.get_running_loop()
    held: dict[int, GenerateChunk] = {}
    begun: set[int] = set()
    ready = asyncio.Event()
    due = 0.0
    timer: asyncio.TimerHandle | None = None

    async def read(number: int, source: AsyncIterator[GenerateChunk]) -> None:
        nonlocal timer
        async with aclosing(source) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                chunk.index += number * samples
                before = held.get(chunk.index)
                held[chunk.index] = chunk if before is None else _merged(before, chunk)
                if chunk.index not in begun or chunk.finish_reason is not None or loop.time() >= due:
                    begun.add(chunk.index)
                    ready.set()
                elif timer is None:
                    timer = loop.call_at(due, ready.set)

    async def read_all() -> None:
        readers = [asyncio.ensure_future(read(number, source)) for number, source in enumerate(sources)]
        try:
            await asyncio.gather(*readers)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            ready.set()

    reading = asyncio.ensure_future(read_all())
    try:
        while True:
            await ready.wait()
            ready.clear()
            if timer is not None:
                timer.cancel()
                timer = None
            due = loop.time() + every_s
            while held:
                yield held.pop(next(iter(held)))
            if reading.done() and not held:
                reading.result()  # raises
                return
    finally:
        if timer is not None:
            timer.cancel()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _merged(first: GenerateChunk, then: GenerateChunk) -> GenerateChunk:
    """Return two pieces of one text as one."""
    first.text += then.text
    first.output_tokens = then.output_tokens
    first.finish_reason = then.finish_reason
    first.logprobs = (first.logprobs or []) + then.logprobs if then.logprobs else first.logprobs
    first.reasoning, first.tool_calls = then.reasoning, then.tool_calls
    return first
