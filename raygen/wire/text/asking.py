"""Asking: what the requests of both endpoints for texts have in common, beside their sampling."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from raygen.engines.base import Engine
from raygen.engines.finish import UNTOLD, finish_of
from raygen.errors import RowError
from raygen.wire.base import Asked, Served
from raygen.wire.text.body import TextBody

T = TypeVar("T")
_FINGERPRINTS: WeakKeyDictionary[Engine, dict[str | None, str]] = WeakKeyDictionary()


def row_id_of(body: TextBody, asked: Asked) -> str:
    """Return how engines are to call a request. One with a seed of its own is called by it: engines may draw on the name."""
    return asked.request_id if body.seed is None else f"seed-{body.seed}"


def answer_id(kind: str, asked: Asked) -> str:
    """Return an answer's id: it follows from the request's, so that a batch's line gets the same one again."""
    return f"{kind}-{asked.request_id.removeprefix('req_')}"


def fingerprint_of(served: Served) -> str:
    """Return what stands for weights and engine: with another one, the same seed may get another answer.

    To be asked once the engine has answered: before it is loaded it may not know all of its version.
    """
    known = _FINGERPRINTS.setdefault(served.engine, {})
    if served.adapter not in known:
        text = f"{served.model.digest}\x00{served.adapter}\x00{served.engine.version}"
        known[served.adapter] = f"fp_{hashlib.blake2b(text.encode(), digest_size=5).hexdigest()}"
    return known[served.adapter]


def finish_reason(word: str) -> str:
    """Return how a text ended, in the protocol's words. Raises RowError `bad_answer`: it is a fragment."""
    found = finish_of(word)
    if found is None:
        raise RowError("bad_answer", f"the text broke off with finish_reason {word!r}")
    return "stop" if found == UNTOLD else found


async def at_once(works: Iterable[Coroutine[Any, Any, T]], most: int) -> list[T]:
    """Do many, so many at once, and return what came out in their order. One that fails ends the others."""
    gate = asyncio.Semaphore(most)

    async def one(work: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await work

    given = list(works)
    tasks = [asyncio.ensure_future(one(work)) for work in given]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for work in given:
            work.close()  # of one that never had its turn
