"""Paced: pieces of a stream in bundles, so that a fast writer does not cost a message a token on the way to the gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

PieceT = TypeVar("PieceT")


async def paced(pieces: AsyncIterator[PieceT], every_s: float) -> AsyncGenerator[list[PieceT], None]:
    """Yield the pieces in lists: the first at once, what comes after it at most every `every_s` seconds.

    What the stream raises is raised after the pieces that came before.
    """
    held: list[PieceT] = []
    end: BaseException | None = None
    sent_s = -every_s
    coming = asyncio.ensure_future(anext(pieces))
    try:
        while end is None:
            wait_s = sent_s + every_s - time.monotonic()
            await asyncio.wait({coming}, timeout=max(0.0, wait_s) if held else None)
            if coming.done() and (end := coming.exception()) is None:
                held.append(coming.result())
                coming = asyncio.ensure_future(anext(pieces))
            if held and (end is not None or time.monotonic() >= sent_s + every_s):
                yield held
                held, sent_s = [], time.monotonic()
        if not isinstance(end, StopAsyncIteration):
            raise end
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
