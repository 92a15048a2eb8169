"""The pooled engine: every request is answered once, by a living replica, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raygen.cluster.errors_as_text import pack_error
from raygen.config.media import SpeakSettings
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.echo import EchoEngine
from raygen.engines.requests import ClassifyRequest, GenerateRequest, GenerateResult, SpeakRequest
from raygen.errors import EngineError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.pipeline.pools import pooled
from raygen.pipeline.pools.pooled import PooledEngine, PoolLostError, Ready, ReplicaLostError, Roster
from raygen.program.machine import machine_name

MODEL = ResolvedModel(
    "writer",
    ModelSpec.model_validate(
        {"family": "causal_lm", "engine": "echo", "placement": "pooled", "options": {"concurrency": 4}}
    ),
    None,
    "echo:-",
)


class Twin:
    """A replica in memory, with the engine itself; `kill` is the end of its process."""

    def __init__(self, machine: str = machine_name(), error: Exception | None = None) -> None:
        self.engine = EchoEngine(MODEL)
        self.machine = machine
        self.error = error
        self.asked: list[str] = []
        self.in_flight = self.most = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.readied = 0
        self.dead = False
        self._death = asyncio.Event()

    async def ready(self) -> Ready:
        self.readied += 1
        if self.dead:
            raise ReplicaLostError
        if isinstance(self.error, EngineError):
            raise self.error
        await self.engine.start()
        return Ready("echo 1", self.machine)

    async def ask(self, method: str, request: Any) -> Any:
        if self.dead:
            raise ReplicaLostError
        self.asked.append(request.row_id)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        held = asyncio.create_task(self.hold.wait())
        died = asyncio.create_task(self._death.wait())
        try:
            await asyncio.wait([held, died], return_when=asyncio.FIRST_COMPLETED)
            if self.dead:
                raise ReplicaLostError
            if self.error is not None:
                raise self.error
            return await getattr(self.engine, method)(request)
        finally:
            held.cancel()
            died.cancel()
            self.in_flight -= 1

    def kill(self) -> None:
        self.dead = True
        self._death.set()

    def revive(self) -> None:
        self.dead = False
        self._death.clear()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled, "LOOK_S", 0.005)
    monkeypatch.setattr(pooled, "PAUSE_S", 0.005)


def request(row: int) -> GenerateRequest:
    return GenerateRequest(f"r{row}", [{"role": "user", "content": f"about {row}"}], Sampling(), [row])


class Room:
    """A pool in memory, and the engine that stands for it."""

    def __init__(self, *twins: Twin) -> None:
        self.twins = list(twins)
        self.roster: Roster | None = None
        self.engine = PooledEngine(MODEL, self._look, replicas=3, hosts=1)

    async def _look(self) -> Roster | None:
        return self.roster or Roster({str(id(twin)): twin for twin in self.twins})

    def ask(self, *rows: int) -> list[asyncio.Task[GenerateResult]]:
        return [asyncio.create_task(self.engine.generate(request(row))) for row in rows]


def within(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(story(), 10)

    asyncio.run(limited())


async def until(met: Callable[[], bool]) -> None:
    while not met():
        await asyncio.sleep(0.001)


def test_requests_are_spread_bounded_and_answered_as_the_engine_would() -> None:
    async def story() -> None:
        first, second = Twin(), Twin()
        first.hold.clear()
        second.hold.clear()
        room = Room(first, second)
        await room.engine.start()
        await until(lambda: len(room.engine._seats) == 2 and all(s.up for s in room.engine._seats.values()))
        answers = room.ask(*range(6))
        await until(lambda: first.in_flight + second.in_flight == 6)
        assert first.in_flight == second.in_flight
        answers += room.ask(*range(6, 30))
        await until(lambda: room.engine.stats.waiting > 0)
        assert (first.in_flight, second.in_flight, room.engine.stats.waiting) == (8, 8, 14)
        assert room.engine.stats.extra == {"pool.writer.asked": 30}
        second.hold.set()
        first.hold.set()
        found = await asyncio.gather(*answers)
        own = EchoEngine(MODEL)
        await own.start()
        assert found == [await own.generate(request(row)) for row in range(30)]
        assert (first.most, second.most) == (8, 8)
        assert sorted(first.asked + second.asked) == sorted(f"r{row}" for row in range(30))
        assert (room.engine.stats.waiting, room.engine.stats.requests) == (0, 30)
        assert room.engine.stats.extra == {"pool.writer.asked": 0}
        classified = await room.engine.classify(ClassifyRequest("r", ["a text"]))
        assert (
            classified.probabilities == (await own.classify(ClassifyRequest("r", ["a text"]))).probabilities
        )
        with pytest.raises(RowError, match="speaks no text"):  # the replica's own answer
            await room.engine.speak(SpeakRequest("spoken", "a text", SpeakSettings(), [1]))
        assert "spoken" in first.asked + second.asked
        assert (room.engine.capacity, room.engine.version) == (12, "echo 1")
        await room.engine.close()

    within(story)


def test_a_slow_replica_gets_fewer_requests() -> None:
    async def story() -> None:
        slow, quick = Twin(), Twin()
        slow.hold.clear()
        room = Room(slow, quick)
        await room.engine.start()
        await until(lambda: all(s.up for s in room.engine._seats.values()))
        answers = room.ask(*range(100))
        await until(lambda: len(quick.asked) >= 92)
        assert len(slow.asked) == 8
        slow.hold.set()
        await asyncio.gather(*answers)
        await room.engine.close()

    within(story)


def test_requests_of_a_lost_replica_go_to_another_before_all_that_wait() -> None:
    async def story() -> None:
        first, second = Twin(), Twin()
        first.hold.clear()
        second.hold.clear()
        room = Room(first, second)
        await room.engine.start()
        await until(lambda: all(s.up for s in room.engine._seats.values()))
        answers = room.ask(*range(20))
        await until(lambda: first.in_flight == second.in_flight == 8)
        lost = list(first.asked)
        first.kill()
        await until(lambda: room.engine.stats.waiting == 12)
        second.hold.set()
        found = await asyncio.gather(*answers)
        assert [each.samples[0].text for each in found] == [
            (await second.engine.generate(request(row))).samples[0].text for row in range(20)
        ]
        assert set(second.asked[8:16]) == set(lost)
        first.revive()
        first.hold.set()
        await until(lambda: all(seat.up for seat in room.engine._seats.values()))
        await asyncio.gather(*room.ask(*range(50, 58)))
        assert len(first.asked) > 8
        await room.engine.close()

    within(story)


def test_the_only_replica_is_waited_for() -> None:
    async def story() -> None:
        only = Twin()
        room = Room(only)
        await room.engine.start()
        only.kill()
        answers = room.ask(1, 2, 3)
        await asyncio.sleep(0.03)
        assert not any(answer.done() for answer in answers)
        only.revive()
        assert len(await asyncio.gather(*answers)) == 3
        await room.engine.close()

    within(story)


def test_who_joins_gets_requests_and_who_leaves_is_forgotten() -> None:
    async def story() -> None:
        leaver, comer = Twin(), Twin(machine="another machine")
        leaver.hold.clear()
        room = Room(leaver)
        await room.engine.start()
        answers = room.ask(*range(8))
        await until(lambda: leaver.in_flight == 8)
        room.twins = [comer]
        await until(lambda: [seat.link for seat in room.engine._seats.values() if seat.up] == [comer])
        await asyncio.gather(*room.ask(*range(20, 30)))
        assert len(comer.asked) == 10
        answers[0].cancel()
        readied = leaver.readied
        leaver.kill()
        assert len(await asyncio.gather(*answers[1:])) == 7
        assert len(comer.asked) == 17
        await asyncio.sleep(0.03)
        assert leaver.readied == readied  # nobody asks whether it is back
        assert room.engine.version == "echo 1; echo 1 on another machine"
        await room.engine.close()

    within(story)


@pytest.mark.parametrize(
    "error",
    [RowError("prompt_too_long", "9 tokens"), EngineError("no accelerator"), ZeroDivisionError("a bug")],
)
def test_errors_pass_through_unchanged(error: Exception) -> None:
    async def story() -> None:
        twin = Twin()
        room = Room(twin)
        await room.engine.start()
        twin.error = error
        with pytest.raises(type(error)) as caught:
            await room.engine.generate(request(1))
        assert caught.value is error
        assert len(twin.asked) == 1
        await room.engine.close()

    within(story)


@pytest.mark.parametrize(
    ("roster", "kind"),
    [
        (Roster({}, pack_error(EngineError("no accelerator"))), EngineError),
        (Roster({}, lost="they keep ending"), PoolLostError),
    ],
)
def test_a_pool_that_is_no_more_holds_nobody(roster: Roster, kind: type[Exception]) -> None:
    async def story() -> None:
        twin = Twin()
        twin.hold.clear()
        room = Room(twin)
        await room.engine.start()
        answers = room.ask(*range(20))
        await until(lambda: twin.in_flight == 8)
        room.roster = roster
        await until(lambda: not room.engine.stats.waiting)
        twin.kill()
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert {type(each) for each in found} == {kind}
        late = Room(twin)
        late.roster = roster
        with pytest.raises(kind):
            await late.engine.start()
        await room.engine.close()
        await late.engine.close()

    within(story)


def test_an_engine_that_cannot_start_is_said_at_the_start() -> None:
    async def story() -> None:
        room = Room(Twin(error=EngineError("no accelerator")))
        with pytest.raises(EngineError, match="no accelerator"):
            await room.engine.start()
        await room.engine.close()

    within(story)


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def story() -> None:
        twin = Twin()
        twin.hold.clear()
        room = Room(twin)
        await room.engine.start()
        answers = room.ask(*range(12))
        await until(lambda: twin.in_flight == 8 and room.engine.stats.waiting == 4)
        [seat] = room.engine._seats.values()
        seat.in_flight -= 1
        room.engine._let_in()  # one that waited has a place now, and is cancelled before it takes it
        seat.in_flight += 1
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        twin.hold.set()
        assert len(await asyncio.gather(*room.ask(*range(12)))) == 12
        assert [seat.in_flight for seat in room.engine._seats.values()] == [0]
        await room.engine.close()

    within(story)
