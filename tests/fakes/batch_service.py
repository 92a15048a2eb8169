"""A service with an echo model on loopback, its batch worker inside, for tests of files and batches."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import uvicorn

from raygen.engines.echo import echo_text
from raygen.serve.app import make_app
from raygen.serve.batches.service import Batches
from raygen.serve.config import ServiceConfig
from raygen.serve.heads import BoundedHeads
from raygen.serve.listening import bound
from raygen.serve.service import Service
from raygen.serve.tenants.tenant import DEFAULT
from raygen.wire.text.body import seeds

CHAT = "/v1/chat/completions"
TENANT = DEFAULT.name


def line(custom_id: str, text: str = "hi", model: str = "echo", url: str = CHAT, **more: Any) -> str:
    """Return a line of a batch file."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def lines(count: int, failing: tuple[int, ...] = ()) -> bytes:
    """Return a batch file; a prompt of the failing rows is longer than the model's context of 64 words."""
    found = [line(f"r{n}", "x " * 64 if n in failing else f"hi {n}", seed=n) for n in range(count)]
    return ("\n".join(found) + "\n").encode()


def answer_to(row: int) -> str:
    """Return the text that a row of `lines` is answered with."""
    return echo_text(f"seed-{row}", f"hi {row}", seeds(row, 1)[0])


def settings(store: Path | str, **more: Any) -> ServiceConfig:
    """Return a service's configuration. `more` replaces its keys."""
    echo = {
        "family": "causal_lm",
        "engine": "echo",
        "options": {"context_tokens": 64, **more.pop("options", {})},
    }
    return ServiceConfig.model_validate({"store": str(store), "models": {"echo": echo}, **more})


@dataclass
class Running:
    """A running service."""

    url: str
    service: Service
    loop: asyncio.AbstractEventLoop

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", **options)


@contextmanager
def running(config: ServiceConfig, *, work: bool = True) -> Iterator[Running]:
    """Run a service for the length of a `with`."""
    service, ready = Service.of(config), threading.Event()
    server = uvicorn.Server(
        uvicorn.Config(make_app(service), http=BoundedHeads, log_config=None, access_log=False)
    )
    listener = bound("127.0.0.1", 0)
    found: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        found.append(asyncio.get_running_loop())
        await service.start(work=work)
        listener.listen()
        ready.set()
        await server.serve(sockets=[listener])
        await service.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", service, found[0])
    finally:
        server.should_exit = True
        thread.join(20)


def uploaded(client: openai.OpenAI, content: bytes) -> str:
    """Upload a batch file, and return its id."""
    return client.files.create(file=("in.jsonl", content), purpose="batch").id


def created(
    client: openai.OpenAI, content: bytes, window: Any = "24h", endpoint: Any = CHAT, **more: Any
) -> openai.types.Batch:
    """Upload a batch file, and make a batch of it."""
    return client.batches.create(
        input_file_id=uploaded(client, content), endpoint=endpoint, completion_window=window, **more
    )


def ended(client: openai.OpenAI, batch: str, until_s: float = 30.0) -> openai.types.Batch:
    """Wait until a batch is over, its retries too."""
    until = time.monotonic() + until_s
    while True:
        found = client.batches.retrieve(batch)
        over = found.status in ("completed", "failed", "cancelled", "expired")
        if over and all(retry["status"] != "in_progress" for retry in (found.model_extra or {})["retries"]):
            return found
        assert time.monotonic() < until, f"still {found.status}"
        time.sleep(0.05)


def ended_here(batches: Batches, file: bytes, until_s: float = 30.0) -> dict[str, Any]:
    """Make a batch without HTTP, and wait until it is over."""
    name = batches.files.create(TENANT, io.BytesIO(file), "in.jsonl")["id"]
    asked = {"input_file_id": name, "endpoint": CHAT, "completion_window": "24h"}
    found = batches.requests.create(DEFAULT, asked)
    until = time.monotonic() + until_s
    while found["status"] not in ("completed", "failed", "cancelled", "expired"):
        assert time.monotonic() < until, found["status"]
        time.sleep(0.02)
        found = batches.requests.get(DEFAULT, found["id"])
    return found


def content(batches: Batches, batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the lines of a batch's output and error file by custom_id, read without HTTP."""
    found = []
    for name in (batch["output_file_id"], batch["error_file_id"]):
        data = b"" if name is None else b"".join(batches.files.content(TENANT, name).pieces)
        found.append({row["custom_id"]: row for row in map(json.loads, data.splitlines())})
    return found[0], found[1]


def rows_of(client: openai.OpenAI, file: str | None) -> dict[str, Any]:
    """Return a result file's lines by custom_id, each of which may be there once."""
    if file is None:
        return {}
    found = [json.loads(each) for each in client.files.content(file).text.splitlines()]
    by_id = {each["custom_id"]: each for each in found}
    assert len(by_id) == len(found)
    return by_id
