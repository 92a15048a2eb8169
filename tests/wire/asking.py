"""Bodies sent to endpoints, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

from raygen.wire.base import Asked, Endpoint, Served
from raygen.wire.parse import parse_body

ASKED = Asked("req_1", seed=11, created_s=1_700_000_000)


def answered(endpoint: Endpoint[Any], served: Served, asked: Asked = ASKED, **body: Any) -> dict[str, Any]:
    """Return the whole answer of a body."""
    parsed = parse_body(endpoint, {"model": "smol", **body})
    endpoint.check(parsed, served)
    found = asyncio.run(endpoint.answer(parsed, served, asked)).body
    assert isinstance(found, dict)
    return found


def streamed(
    endpoint: Endpoint[Any], served: Served, asked: Asked = ASKED, **body: Any
) -> list[dict[str, Any]]:
    """Return the events of a body's stream."""
    parsed = parse_body(endpoint, {"model": "smol", "stream": True, **body})
    endpoint.check(parsed, served)

    async def all_of_it() -> list[Any]:
        return [piece.body async for piece in endpoint.stream(parsed, served, asked)]

    return asyncio.run(all_of_it())
