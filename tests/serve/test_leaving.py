"""Clients that leave: whatever they had asked for, its place is free within a second, and what was made is counted."""

from __future__ import annotations

import asyncio
import re
import time

import httpx
import pytest

from raygen.serve.config import ServiceConfig
from tests.fakes.batch_service import running

SLOW = {"engine": "echo", "options": {"delay_s": 60, "concurrency": 2}}
MODELS = {
    "writer": {"family": "causal_lm", **SLOW},
    "reader": {"family": "embedder", **SLOW},
    "judge": {"family": "classifier", **SLOW},
    "painter": {"family": "diffusion", **SLOW},
    "talker": {
        "family": "causal_lm",
        "engine": "echo",
        "options": {"delay_s": 60, "output_tokens": 600, "concurrency": 2},
    },
}
CHAT, HI = "/v1/chat/completions", [{"role": "user", "content": "hi"}]
ASKED = {
    "chat": (CHAT, {"model": "writer", "messages": HI}),
    "completion": ("/v1/completions", {"model": "writer", "prompt": "hi"}),
    "vectors": ("/v1/embeddings", {"model": "reader", "input": "hi"}),
    "labels": ("/v1/classifications", {"model": "judge", "input": "hi"}),
    "pictures": ("/v1/images/generations", {"model": "painter", "prompt": "hi", "size": "16x16"}),
    "chat in pieces": (CHAT, {"model": "talker", "messages": HI, "stream": True}),
    "completion in pieces": ("/v1/completions", {"model": "talker", "prompt": "hi", "stream": True}),
    "first piece": ("/v1/completions", {"model": "writer", "prompt": "hi", "stream": True}),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    store = str(tmp_path_factory.mktemp("store"))
    with running(ServiceConfig.model_validate({"store": store, "models": MODELS}), work=False) as found:
        yield found


def under_way(service, model):
    return service.service.catalog.links[model].replica.engine.under_way


async def until(what, seconds):
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ASKED)
def test_who_leaves_is_taken_out_running_and_waiting(service, name):
    path, body = ASKED[name]

    async def leave():
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
            # Two are worked on, two wait.
            asked = [asyncio.create_task(http.post(path, json=body)) for _ in range(4)]
            await until(lambda: under_way(service, body["model"]) == 4, 10)
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        await until(lambda: under_way(service, body["model"]) == 0, 1)

    asyncio.run(leave())


def test_what_was_made_is_counted(service):
    used = service.service.tenants.ledger
    before = used.month_tokens("default")
    body = {"model": "talker", "messages": HI, "stream": True}
    with httpx.stream("POST", f"{service.url}{CHAT}", json=body, timeout=30) as stream:
        for number, _ in enumerate(stream.iter_lines()):
            if number == 6:
                break
    asyncio.run(until(lambda: under_way(service, "talker") == 0, 1))
    asyncio.run(until(lambda: used.month_tokens("default") > before, 2))
    text = httpx.get(f"{service.url}/metrics").text
    assert re.search(rf'raygen_clients_left_total{{endpoint="{CHAT}",model="talker"}} [1-9]', text)
