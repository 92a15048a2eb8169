"""The Serve link without Serve: a handle that answers as one would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray

from raygen.cluster.errors_as_text import Failure
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateChunk, GenerateRequest
from raygen.errors import BusyError, ModelLoadingError, ReplicaLostError, RowError
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from raygen.serve.cluster.model import About
from raygen.serve.cluster.serve_link import ServeLink
from raygen.serve.config import ServiceConfig
from raygen.serve.models.link import Figures

GONE = ray.exceptions.ActorDiedError()


def about(**said: Any) -> About:
    figures = Figures("ready", 1, 1, running=2)
    plain = {"figures": figures, "capacity": 8, "yardstick": None, "version": "1", "machine": "m", "pid": 1}
    return About(**{**plain, "adapters": (), **said})


@dataclass
class Replicas:
    """What is behind the handle."""

    there: list[About] = field(default_factory=lambda: [about()])
    answers: list[Any] = field(default_factory=list)  # one a call; an exception is raised
    comes: Callable[[], None] = lambda: None  # what happens when somebody waits for a replica
    calls: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = field(default_factory=list)
    cancelled: int = 0


class Handle:
    def __init__(self, replicas: Replicas, **options: Any) -> None:
        self.replicas, self.said = replicas, options

    def options(self, **options: Any) -> Handle:
        return Handle(self.replicas, **{**self.said, **options})

    def remote(self, *arguments: Any) -> Response:
        self.replicas.calls.append((self.said["method_name"], self.said, arguments))
        return Response(self)

    def broadcast(self, method: str, *arguments: Any) -> Any:
        replicas = self.replicas

        class Broadcast:
            async def results_async(self, **how: Any) -> list[Any]:
                if method == "about":
                    return list(replicas.there)
                replicas.calls.append((method, {}, arguments))
                return [None for _ in replicas.there]

        return Broadcast()


class Response:
    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    def cancel(self) -> None:
        self.handle.replicas.cancelled += 1

    def __await__(self) -> Any:
        return self._answer().__await__()

    async def _answer(self) -> Any:
        replicas = self.handle.replicas
        if self.handle.said["method_name"] == "ready":
            replicas.comes()
            while not replicas.there:
                await asyncio.sleep(0.01)
            return True
        answer = replicas.answers.pop(0)
        if answer is ...:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self.handle.replicas.answers.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item


class Still:
    async def of(self, model: str) -> Figures:
        return Figures("cold")


def link(replicas: Replicas, held: int = 2, **served: Any) -> ServeLink:
    config = ServiceConfig.model_validate(
        {"gateway": {"held": held}, "models": {"m": {"family": "causal_lm", "engine": "echo", **served}}}
    )
    model = ResolvedModel(
        "m", config.models["m"].spec, None, "echo:-", {"fixed": ResolvedAdapter("./f", "/f", "d")}
    )
    return ServeLink("m", model, config.models["m"], Handle(replicas), Still(), config)  # type: ignore[arg-type]


def request(adapter: str | None = None) -> GenerateRequest:
    return GenerateRequest("r", [{"role": "user", "content": "hi"}], Sampling(), [1], adapter=adapter)


async def started(replicas: Replicas, **said: Any) -> ServeLink:
    found = link(replicas, **said)
    await found.start()
    return found


def test_what_a_replica_returns_is_returned_and_what_it_raises_is_raised() -> None:
    async def main() -> None:
        replicas = Replicas(
            answers=["text", Failure.of(RowError("too_long", "x")), Failure.of(BusyError("full", 7.0))]
        )
        m = await started(replicas)
        assert await m.engine.generate(request()) == "text"
        with pytest.raises(RowError):
            await m.engine.generate(request())
        with pytest.raises(BusyError) as busy:
            await m.engine.generate(request())
        assert busy.value.retry_after_s == 7.0

    asyncio.run(main())


def test_that_a_batch_is_over_is_told_to_every_replica() -> None:
    async def main() -> None:
        replicas = Replicas()
        m = await started(replicas)
        await m.end_run("run", "cancelled")
        assert replicas.calls == [("end_run", {}, ("run", "cancelled"))]

    asyncio.run(main())


def test_a_lost_answer_is_asked_for_once_more() -> None:
    async def main() -> None:
        m = await started(Replicas(answers=[GONE, "text"]))
        assert await m.engine.generate(request()) == "text"
        m = await started(Replicas(answers=[GONE, GONE]))
        with pytest.raises(ReplicaLostError):
            await m.engine.generate(request())

    asyncio.run(main())


def test_who_leaves_ends_the_call() -> None:
    async def main() -> None:
        replicas = Replicas(answers=[...])
        m = await started(replicas)
        asking = asyncio.create_task(m.engine.generate(request()))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert replicas.cancelled == 1

    asyncio.run(main())


def test_at_zero_a_request_wakes_a_replica_and_waits_for_it() -> None:
    async def main() -> None:
        replicas = Replicas(there=[], answers=["text", "text"])
        replicas.comes = lambda: replicas.there.append(about())
        m = await started(replicas)
        assert (
            await asyncio.gather(m.ask("generate", request()), m.ask("generate", request())) == ["text"] * 2
        )
        assert [name for name, _, _ in replicas.calls].count("ready") == 1

    asyncio.run(main())


def test_at_zero_only_so_many_wait_and_only_so_long() -> None:
    async def main() -> None:
        m = await started(Replicas(there=[]), held=2, cold_wait_s=0.05)
        found = await asyncio.gather(
            *(m.ask("generate", request()) for _ in range(4)), return_exceptions=True
        )
        assert {type(each) for each in found} == {ModelLoadingError}
        assert sum("wait for it already" in str(each) for each in found) == 2

    asyncio.run(main())


def test_figures_are_those_of_all_replicas_and_wake_none() -> None:
    async def main() -> None:
        replicas = Replicas(there=[about(), about()])
        m = await started(replicas)
        found = await m.figures()
        assert (found.state, found.replicas, found.running) == ("ready", 2, 4)
        replicas.there.clear()
        await asyncio.sleep(0.25)
        assert (await m.figures()).state == "cold"
        assert replicas.calls == []

    asyncio.run(main())


def said(*words: str) -> list[list[GenerateChunk]]:
    return [
        [GenerateChunk(0, word, n + 1, "stop" if word == "end" else None)] for n, word in enumerate(words)
    ]


def heard(replicas: Replicas, change: Callable[[], None] = lambda: None) -> str:
    async def main() -> str:
        m = await started(replicas)
        text = ""
        async for chunk in m.engine.stream(request()):
            text += chunk.text
            change()
        return text

    return asyncio.run(main())


def test_a_stream_goes_on_at_another_replica() -> None:
    assert heard(Replicas(answers=[[*said("a", "b"), GONE], said("a", "b", "end")])) == "abend"


def test_unless_that_one_computes_otherwise() -> None:
    replicas = Replicas(answers=[[*said("a", "b"), GONE], said("a", "b", "end")])
    with pytest.raises(ReplicaLostError):
        heard(replicas, lambda: replicas.there.__setitem__(0, about(machine="another")))


def test_an_adapter_that_came_later_goes_to_replicas_that_hold_it_with_where_it_is() -> None:
    async def main() -> None:
        replicas = Replicas(answers=["", "", ""])
        m = await started(replicas)
        await m.load_adapter("late", "./late")
        assert replicas.calls.pop() == ("load_adapter", {}, ("late", "./late"))
        assert dict(m.adapters) == {"fixed": "./f", "late": "./late"}
        for name in ("late", "fixed", None):
            await m.ask("generate", request(name))
        routed = [
            (options.get("multiplexed_model_id"), arguments[2]) for _, options, arguments in replicas.calls
        ]
        assert routed == [("late", "./late"), (None, None), (None, None)]
        await m.drop_adapter("late")
        assert replicas.calls[-1] == ("drop_adapter", {}, ("late",))
        with pytest.raises(RowError, match="late"):
            await m.drop_adapter("late")

    asyncio.run(main())
