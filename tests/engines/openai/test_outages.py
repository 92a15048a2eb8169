"""The openai engine in random outages: whatever its endpoint does, whoever is cancelled, every row ends and no slot is lost."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from benchmarks.endpoint.mock import MockEndpoint, MockOptions, Reply
from raygen.engines.requests import GenerateResult
from raygen.errors import RowError
from tests.engines.asked import engine_of, request

PHASES: dict[str, Reply | None] = {
    "well": None,
    "slow": None,
    "away": None,
    "hangs": (0, {}, b""),  # until the server restarts, which breaks the connection
    "errors": (500, {}, b"boom"),
    "loads": (503, {}, b"loading"),
    "is busy": (429, {"Retry-After": "0.01"}, b"later"),
    "denies": (403, {}, b"blocked"),
    "cuts off": (200, {}, b'{"choices": [{"index": 0, "mess'),
    "finds fault": (400, {}, b"no"),
}
LONGEST_S = 0.06  # a phase
ROWS, CONCURRENCY = 40, 6


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name, seconds in {
        "backoff.BASE_S": 0.001,
        "backoff.CAP_S": 0.02,
        "admission.PROBE_WAIT_S": 0.001,
        "admission.MAX_PROBE_WAIT_S": 0.01,
        "breaker.FIRST_PROBE_S": 0.01,
        "breaker.LONGEST_PROBE_S": 0.02,
        "breaker.PROOF_S": 0.02,
    }.items():
        monkeypatch.setattr(f"raygen.engines.openai.{name}", seconds)


class Server:
    """A mock that goes through random phases, restarts between some of them, and is well at last."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._phase, self._share = "well", 1.0
        self.phases = ["well", *chance.choices(list(PHASES), k=chance.randint(2, 7)), "well"]
        self.listens: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.began, self.well, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def _respond(self, body: dict[str, Any], head: bytes) -> Reply | None:
        return PHASES[self._phase] if self._chance.random() < self._share else None

    async def run(self) -> None:
        chance, port, left = self._chance, 0, list(self.phases)
        while left:
            latency_s = LONGEST_S if left[0] == "slow" else chance.choice([0.0, 0.002, 0.01])
            async with MockEndpoint(MockOptions(latency_s), port, self._respond) as mock:
                if not port:
                    port = int(mock.url.removesuffix("/v1").rpartition(":")[2])
                    self.listens.set_result(mock.url)
                await self.began.wait()
                while left and left[0] != "away":
                    self._phase, self._share = left.pop(0), chance.choice([0.3, 1.0])
                    await asyncio.sleep(chance.uniform(0, LONGEST_S))
                    if left and (self._phase == "hangs" or chance.random() < 0.5):
                        break
                if not left:
                    self._share = 0.0
                    self.well.set()
                    await self.over.wait()
            if left and left[0] == "away":
                left.pop(0)
                await asyncio.sleep(chance.uniform(0, LONGEST_S))


async def outage(seed: int) -> None:
    chance = random.Random(seed)
    server = Server(chance)
    life = asyncio.create_task(server.run())
    engine = engine_of(
        await server.listens,
        concurrency=CONCURRENCY,
        max_retries=chance.choice([0, 2, 6]),
        start_patience_s=60,
        max_refused_s=60,
        timeout_s=60,
    )
    await engine.start()
    await engine.generate(request())  # what denies everybody from the start is a wrong key
    server.began.set()
    rows = []
    for number in range(ROWS):
        rows.append(asyncio.create_task(engine.generate(request(f"r{number}", f"row {number}"))))
        if chance.random() < 0.2:
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.3), rows[-1].cancel)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 0.02))
    what = f"seed {seed}: {server.phases}: "
    _, hanging = await asyncio.wait(rows, timeout=20)
    stats = engine.stats
    assert not hanging, f"{what}{len(hanging)} rows hang: {stats}"
    for found in await asyncio.gather(*rows, return_exceptions=True):
        if not isinstance(found, GenerateResult | RowError | asyncio.CancelledError):
            raise AssertionError(what) from found
    assert (stats.in_flight, stats.waiting) == (0, 0), f"{what}{stats}"
    await server.well.wait()
    await asyncio.gather(*(engine.generate(request(f"late {n}")) for n in range(3 * CONCURRENCY)))
    assert (stats.in_flight, stats.waiting) == (0, 0), f"{what}{stats}"
    assert stats.limit > 1, f"{what}{stats}"
    await engine.close()
    server.over.set()
    await life


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_every_row_ends_and_every_slot_comes_back(first: int):
    async def main() -> None:
        await asyncio.gather(*(outage(seed) for seed in range(first, first + 8)))

    asyncio.run(main())
