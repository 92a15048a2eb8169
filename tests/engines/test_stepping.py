"""The skeleton of engines that step, with an engine that adds one to numbers until they are ten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from raygen.config.model import ModelSpec
from raygen.engines.stepping import Pending, SteppingEngine
from raygen.errors import EngineError, RowError
from raygen.models.resolved import ResolvedModel


@dataclass(slots=True, eq=False)
class Number(Pending):
    value: int


class Counting(SteppingEngine[Number, list[Number]]):
    """Adds one to every number in a step; 10 is done, 13 is refused, 66 is a bug."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__(ResolvedModel("m", ModelSpec(family="causal_lm", engine="echo"), None, "m"))
        self.fails = fails
        self.numbers: list[Number] = []
        self.sizes: list[int] = []  # of the steps
        self.threads: set[str] = set()

    def _load(self) -> int:
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise EngineError("no memory")
        return 1

    def _loaded(self, loaded: int) -> None:
        self.step_by = loaded

    def _unload(self) -> None:
        vars(self).pop("step_by", None)

    def _step(self, joining: list[Number]) -> list[Number]:
        self.threads.add(threading.current_thread().name)
        self.numbers += joining
        self.sizes.append(len(self.numbers))
        for number in self.numbers:
            if number.value == 66:
                raise ZeroDivisionError("a bug")
            number.value += self.step_by
        ended = [number for number in self.numbers if number.value in (10, 14)]
        self.numbers = [number for number in self.numbers if number not in ended]
        return ended

    def _settle(self, done: list[Number]) -> bool:
        for number in done:
            number.settle(RowError("unlucky", "13") if number.value == 14 else None)
        return bool(self.numbers)

    async def count(self, value: int) -> int:
        self._check_running()
        number = Number(asyncio.get_running_loop().create_future(), value)
        self._requests.add(number)
        self._inbox.append(number)
        self._wake.set()
        try:
            await number.finished
        finally:
            self._requests.discard(number)
        return number.value


def counted(work: Callable[[Counting], Awaitable[Any]], fails: bool = False) -> tuple[Any, Counting]:
    async def main() -> tuple[Any, Counting]:
        engine = Counting(fails)
        try:
            await engine.start()
            return await asyncio.wait_for(work(engine), 20), engine
        finally:
            await engine.close()

    return asyncio.run(main())


def test_requests_share_steps_on_one_thread_and_each_leaves_when_it_is_done():
    found, engine = counted(lambda engine: asyncio.gather(*map(engine.count, (1, 8, 9))))
    assert found == [10, 10, 10]
    assert max(engine.sizes) == 3
    assert engine.threads == {"echo-engine_0"}
    assert not hasattr(engine, "step_by")


def test_it_sleeps_while_there_is_nothing_to_do_and_wakes_for_the_next_request():
    async def work(engine: Counting) -> tuple[int, int]:
        await engine.count(9)
        while engine._wake.is_set():
            await asyncio.sleep(0)
        before = len(engine.sizes)
        await asyncio.sleep(0.02)
        return len(engine.sizes) - before, await engine.count(9)

    assert counted(work)[0] == (0, 10)


def test_an_error_of_one_request_is_its_own():
    work = lambda engine: asyncio.gather(*map(engine.count, (13, 9)), return_exceptions=True)  # noqa: E731
    (refused, done), _ = counted(work)
    assert (refused.code, done) == ("unlucky", 10)


def test_any_other_error_ends_the_engine_for_all():
    async def work(engine: Counting) -> list[Any]:
        under_way = await asyncio.gather(*map(engine.count, (-1000, 66)), return_exceptions=True)
        return [*under_way, *await asyncio.gather(engine.count(1), return_exceptions=True)]

    found, _ = counted(work)
    assert [type(each) for each in found] == [EngineError] * 3
    assert "model 'm' stopped: ZeroDivisionError: a bug" in str(found[0])


def test_nobody_waits_for_a_closed_engine():
    async def work(engine: Counting) -> Any:
        waiting = asyncio.create_task(engine.count(-(10**9)))
        while not engine.numbers:
            await asyncio.sleep(0.001)
        await engine.close()
        return await asyncio.gather(waiting, return_exceptions=True)

    assert "the engine is closed" in str(counted(work)[0][0])


def test_an_engine_that_cannot_start_is_closed_like_any_other():
    with pytest.raises(EngineError, match="no memory"):
        counted(lambda engine: engine.count(1), fails=True)


def test_an_engine_that_is_not_started_says_so():
    with pytest.raises(EngineError, match="model 'm': the engine is not started"):
        asyncio.run(Counting().count(1))
