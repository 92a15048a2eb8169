"""What stands before a replica's engine: bounds for people, and a way behind them for batches."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.base import Engine
from raygen.engines.requests import BATCH, GeneratedSample, GenerateRequest, GenerateResult
from raygen.errors import BusyError, EngineError, UnaskedError
from raygen.models.resolved import ResolvedModel
from raygen.serve.models import bounded as module
from raygen.serve.models.bounded import BatchEngine, BoundedEngine, SharedEngine


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Gate(Engine):
    """Answers two at once, when it is told to."""

    capacity = 2  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(ResolvedModel("gate", ModelSpec(family="causal_lm", engine="echo"), None, "d"))
        self.open = asyncio.Event()
        self.asked: list[tuple[int, int]] = []
        self.left = 0

    async def generate(self, request):
        self.asked.append((request.priority, threading.get_ident()))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return GenerateResult([GeneratedSample("yes", "stop", 1)], 1)


def request() -> GenerateRequest:
    return GenerateRequest("r", [{"role": "user", "content": "hi"}], Sampling(), [1])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_whoever_leaves_gives_the_place_to_the_next():
    async def scene():
        engine = Gate()
        bounded = BoundedEngine(engine, 1)
        tasks = [asyncio.create_task(bounded.generate(request())) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await bounded.generate(request())
        tasks[2].cancel()
        await asyncio.sleep(0)
        tasks[2] = asyncio.create_task(bounded.generate(request()))
        await asyncio.sleep(0)
        engine.open.set()
        await asyncio.gather(*tasks)
        return bounded

    bounded = asyncio.run(scene())
    assert (bounded.under_way, bounded.waiting, bounded.refused) == (0, 0, 1)


def test_when_to_come_again_is_by_the_pace_of_a_busy_engine_not_by_its_idle_hours(clock):
    async def scene():
        engine = Gate()
        engine.open.set()
        bounded = BoundedEngine(engine, 20)
        for _ in range(4):  # one now and then
            await bounded.generate(request())
            clock.now += 3600
        assert bounded.retry_after_s < 2
        engine.open.clear()
        tasks = [asyncio.create_task(bounded.generate(request())) for _ in range(12)]
        await asyncio.sleep(0)
        for task in tasks[:6]:  # one every four seconds
            clock.now += 4
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        waiting, seconds = bounded.waiting, bounded.retry_after_s
        engine.open.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return waiting, seconds

    waiting, seconds = asyncio.run(scene())
    assert waiting == 4
    assert seconds == pytest.approx(8)  # half of those who wait, four seconds each


def test_a_batch_asks_from_another_loop_behind_people_and_can_leave():
    async def scene():
        engine = Gate()
        behind = BatchEngine(engine, asyncio.get_running_loop())

        async def asked():
            task = asyncio.create_task(behind.generate(request()))
            await asyncio.sleep(0.05)
            task.cancel()
            return await behind.generate(request())

        with ThreadPoolExecutor(1) as pool:
            chunk = asyncio.get_running_loop().run_in_executor(pool, asyncio.run, asked())
            while len(engine.asked) < 2:
                await asyncio.sleep(0.005)
            engine.open.set()
            found = await chunk
        return engine, found

    engine, found = asyncio.run(scene())
    assert found.samples[0].text == "yes"
    assert engine.asked == [(BATCH, threading.get_ident())] * 2
    assert engine.left == 1


def test_a_batch_whose_replica_has_gone_is_told_so():
    async def made():
        return BatchEngine(Gate(), asyncio.get_running_loop())

    with pytest.raises(EngineError, match="the replica is closed"):
        asyncio.run(asyncio.run(made()).generate(request()))


def in_another_loop(behind: BatchEngine, rows: int) -> asyncio.Future[list[Any]]:
    """Ask for rows as the host of a batch does; returns what came of each."""

    async def asked() -> list[Any]:
        asks = [behind.generate(request()) for _ in range(rows)]
        return await asyncio.gather(*asks, return_exceptions=True)

    return asyncio.get_running_loop().run_in_executor(None, asyncio.run, asked())


def test_of_a_batch_that_is_over_what_is_under_way_is_answered_and_nothing_else_is_asked() -> None:
    async def scene() -> tuple[Gate, list[Any]]:
        engine = Gate()
        shared = SharedEngine(engine, 1.0)
        behind = BatchEngine(shared, asyncio.get_running_loop())
        answers = in_another_loop(behind, 5)
        while len(engine.asked) < 2 or len(shared._held) < 3:
            await asyncio.sleep(0.005)
        behind.end("cancelled")
        later = await in_another_loop(behind, 1)
        engine.open.set()
        return engine, await answers + later

    engine, found = asyncio.run(scene())
    assert [type(each) for each in found] == [GenerateResult] * 2 + [UnaskedError] * 4
    assert {each.code for each in found[2:]} == {"batch_cancelled"}
    assert (len(engine.asked), engine.left) == (2, 0)


def test_a_row_that_is_cancelled_itself_is_not_taken_for_one_of_a_batch_that_is_over() -> None:
    async def scene() -> None:
        behind = BatchEngine(Gate(), asyncio.get_running_loop())
        task = asyncio.create_task(behind.generate(request()))
        await asyncio.sleep(0.02)
        behind.end("expired")  # an engine that cannot tell is asked on
        await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
