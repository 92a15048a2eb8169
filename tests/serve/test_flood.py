"""More is asked than can be answered: who is too many is told so at once, in the protocol's words, and memory stays flat."""

from __future__ import annotations

import asyncio
import os
import time

import httpx
import psutil
import pytest

from raygen.serve.config import ServiceConfig
from tests.fakes.batch_service import running

FLOOD = 5000 if os.environ.get("RAYGEN_FULL") else 200
TAKEN, WAITING = 4, 8


@pytest.fixture
def service(tmp_path):
    options = {"delay_s": 1, "concurrency": TAKEN}
    models = {"slow": {"family": "causal_lm", "engine": "echo", "bound": WAITING, "options": options}}
    config = {"store": str(tmp_path), "models": models}
    with running(ServiceConfig.model_validate(config), work=False) as found:
        yield found


def test_a_flood_is_refused_at_once_and_nobody_who_was_taken_is_lost(service):
    body = {"model": "slow", "messages": [{"role": "user", "content": "x" * 10_000}]}
    limits = httpx.Limits(max_connections=None)

    async def ask(http, stream):
        begun = time.monotonic()
        answer = await http.post("/v1/chat/completions", json={**body, "stream": stream})
        return answer, time.monotonic() - begun

    async def flood():
        async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits) as http:
            asked = []
            for number in range(FLOOD):  # an open loop: nobody waits for anybody
                asked.append(asyncio.create_task(ask(http, bool(number % 2))))
                await asyncio.sleep(0.003)
            return await asyncio.gather(*asked)

    before = psutil.Process().memory_info().rss
    found = asyncio.run(flood())
    grown = psutil.Process().memory_info().rss - before
    refused = [answer for answer, _ in found if answer.status_code == 429]
    taken = [answer for answer, _ in found if answer.status_code == 200]
    assert len(refused) + len(taken) == FLOOD
    assert len(taken) >= TAKEN + WAITING
    assert len(refused) > FLOOD / 2
    for answer in refused:
        assert answer.json()["error"]["code"] == "model_busy"
        assert int(answer.headers["retry-after"]) >= 1
    assert all('"error"' not in answer.text for answer in taken)
    assert grown < 64 * 2**20  # this process is the clients', too
