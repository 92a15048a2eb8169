"""Running: an engine is started, does some work, and is closed, under an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from raygen.engines.base import Engine

EngineT = TypeVar("EngineT", bound=Engine)


def with_engine(engine: EngineT, work: Callable[[EngineT], Awaitable[Any]]) -> Any:
    """Return what comes of the work."""

    async def run() -> Any:
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())
