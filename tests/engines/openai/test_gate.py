from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from raygen.engines.base import EngineStats
from raygen.engines.openai.admission import Admission
from raygen.engines.openai.gate import Gate
from raygen.errors import EngineError


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 10))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def gauges(stats: EngineStats) -> tuple[int, int, int]:
    return stats.in_flight, stats.waiting, stats.limit


def test_who_is_asked_again_goes_first_and_the_others_in_order():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(1), stats)
        order: list[str] = []
        first = await gate.enter()

        async def come(name: str, again: bool) -> None:
            ticket = await gate.enter(again)
            order.append(name)
            gate.served(ticket)

        tasks = [asyncio.create_task(come(*who)) for who in [("a", False), ("b", False), ("retry", True)]]
        await settle()
        assert gauges(stats) == (1, 3, 1)
        gate.served(first)
        await asyncio.gather(*tasks)
        assert order == ["retry", "a", "b"]
        assert gauges(stats) == (0, 0, 1)

    run(main())


def test_a_pause_ends_by_itself():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(4), stats)
        loop = asyncio.get_running_loop()
        began = loop.time()
        gate.refused(await gate.enter(), 0.1)
        await gate.enter(again=True)
        assert 0.1 <= loop.time() - began < 1

    run(main())


def test_cancelling_loses_no_slot():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(1), stats)
        first = await gate.enter()
        waiting, admitted, last = (asyncio.create_task(gate.enter()) for _ in range(3))
        await settle()
        waiting.cancel()
        await settle()
        assert gauges(stats) == (1, 2, 1)
        gate.served(first)  # lets `admitted` in, whose task has not run yet
        admitted.cancel()
        gate.failed(await last)
        assert gauges(stats) == (0, 0, 1)

    run(main())


def test_who_backs_off_counts_as_waiting():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(1), stats)
        task = asyncio.create_task(gate.back_off(0.05))
        await settle()
        assert gauges(stats) == (0, 1, 1)
        await task
        assert gauges(stats) == (0, 0, 1)

    run(main())


def test_a_shut_gate_turns_everybody_away():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(2), stats)
        gate.refused(await gate.enter(), 60.0)
        waiting = [asyncio.create_task(gate.enter(again)) for again in (False, True)]
        await settle()
        gate.shut("no key")
        for task in waiting:
            with pytest.raises(EngineError, match="no key"):
                await task
        with pytest.raises(EngineError, match="no key"):
            await gate.enter()
        assert gauges(stats)[:2] == (0, 0)

    run(main())


def test_who_goes_alone_waits_for_the_others_and_they_for_it():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(4), stats)
        first, second = await gate.enter(), await gate.enter()
        lone = asyncio.create_task(gate.enter(alone=True))
        later = asyncio.create_task(gate.enter())
        await settle()
        assert gauges(stats) == (2, 2, 4)
        gate.served(first)
        await settle()
        assert not lone.done()
        gate.served(second)
        await settle()
        assert gauges(stats) == (1, 1, 4)
        gate.failed(await lone)
        gate.served(await later)
        assert gauges(stats) == (0, 0, 4)

    run(main())


def test_one_that_was_to_go_alone_and_is_cancelled_holds_nobody():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(4), stats)
        first = await gate.enter()
        waiting, admitted = (asyncio.create_task(gate.enter(alone=True)) for _ in range(2))
        await settle()
        waiting.cancel()
        await settle()
        gate.served(first)  # lets `admitted` in, whose task has not run yet
        admitted.cancel()
        gate.served(await gate.enter())
        assert gauges(stats) == (0, 0, 4)

    run(main())


def test_a_gate_that_is_held_lets_nobody_in():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(4), stats)
        gate.hold(True)
        waiting = asyncio.create_task(gate.enter())
        await settle()
        assert gauges(stats) == (0, 1, 4)
        gate.hold(False)
        gate.served(await waiting)

    run(main())


def test_a_slot_comes_back_however_its_request_ends():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(1), stats)
        with contextlib.suppress(ZeroDivisionError):
            async with gate.slot():
                assert gauges(stats) == (1, 0, 1)
                raise ZeroDivisionError
        assert gauges(stats) == (0, 0, 1)
        with contextlib.suppress(ZeroDivisionError):
            async with gate.slot() as ticket:
                gate.served(ticket)
                raise ZeroDivisionError  # its slot is somebody else's by now
        assert gauges(stats) == (0, 0, 1)
        async with gate.slot(alone=True) as ticket:
            waiting = asyncio.create_task(gate.enter())
            await settle()
            assert gauges(stats) == (1, 1, 1)
        gate.served(await waiting)
        assert gauges(stats) == (0, 0, 1)

    run(main())


def test_a_slot_that_is_waited_for_in_vain_takes_none():
    async def main() -> None:
        stats = EngineStats()
        gate = Gate(Admission(1), stats)

        async def hold() -> None:
            async with gate.slot():
                await asyncio.sleep(60)

        under_way, waiting = (asyncio.create_task(hold()) for _ in range(2))
        await settle()
        for task in (waiting, under_way):
            task.cancel()
        await asyncio.gather(waiting, under_way, return_exceptions=True)
        assert gauges(stats) == (0, 0, 1)

    run(main())
