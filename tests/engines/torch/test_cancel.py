"""A request whose caller has gone is out of the engine by its next step, wherever it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateRequest, LikelihoodRequest
from raygen.engines.torch.engine import TorchEngine
from raygen.engines.torch.likelihood import Likelihoods, Scoring
from raygen.engines.torch.runner import Stepper
from raygen.engines.torch.sample import Sample
from raygen.models.resolved import ResolvedModel
from tests.fakes.tiny_llama import save_tiny, tiny_model

LONG = "the thin cat in the inn, and xyz " * 30  # several steps of prompt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), tiny_model(max_position_embeddings=1600))


class Gate:
    """Lets the worker make one step at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._permits, self._open, self.done = threading.Semaphore(0), False, 0
        step, score = Stepper.step, Likelihoods.step

        def gated(stepper: Stepper, joining: Sequence[Sample]) -> list[Sample]:
            if not self._open:
                self._permits.acquire()
            touched = step(stepper, joining)
            self.done += 1
            return touched

        def small(likelihoods: Likelihoods) -> list[Scoring]:
            likelihoods._tokens = 1  # a piece a step
            return score(likelihoods)

        monkeypatch.setattr(Stepper, "step", gated)
        monkeypatch.setattr(Likelihoods, "step", small)

    async def steps(self, count: int) -> None:
        """Let it make so many steps, and wait until they are made."""
        wanted = self.done + count
        self._permits.release(count)
        while self.done < wanted:
            await asyncio.sleep(0.001)
        for _ in range(20):  # what the steps have settled is told
            await asyncio.sleep(0.001)

    def open(self) -> None:
        self._open = True
        self._permits.release()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Gate(monkeypatch)
    torch.set_num_threads(threads)


def with_engine(folder: Path, gate: Gate, work: Callable[[TorchEngine], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        options = {"threads": 1, "max_batch": 1, "prompt_tokens_per_step": 256}
        spec = ModelSpec(family="causal_lm", engine="torch", ref=str(folder), options=options)
        engine = TorchEngine(ResolvedModel("tiny", spec, str(folder), "sha256:0"))
        await engine.start()
        try:
            return await work(engine)
        finally:
            gate.open()
            await engine.close()

    return asyncio.run(run())


def asked(prompt: str, seeds: Sequence[int] = (1,)) -> GenerateRequest:
    return GenerateRequest("r", [], Sampling(max_tokens=99, min_tokens=99), list(seeds), prompt=prompt)


async def read(engine: TorchEngine, request: GenerateRequest) -> None:
    async for _ in engine.stream(request):
        pass


async def leave(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("prompt", "steps"), [(LONG, 1), ("the", 3)], ids=["prefilling", "decoding"])
def test_a_running_request_frees_its_slot(folder: Path, gate: Gate, streamed: bool, prompt: str, steps: int):
    async def work(engine: TorchEngine) -> None:
        begin = read if streamed else TorchEngine.generate
        task = asyncio.ensure_future(begin(engine, asked(prompt)))
        gate._permits.release(2)  # one for a step of nothing, between which the prompt is read
        while not engine._stepper.scheduler.running:
            await asyncio.sleep(0.001)
        if steps > 1:
            await gate.steps(steps)
        [sample] = engine._stepper.scheduler._running
        assert sample.prefilling == (prompt == LONG)
        await leave(task)
        await gate.steps(1)
        assert (engine.stats.in_flight, engine.stats.waiting) == (0, 0)
        assert not engine._stepper.scheduler._memory.used
        assert not engine._owner

    with_engine(folder, gate, work)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_queued_request_frees_its_place_also_amid_others(folder: Path, gate: Gate, streamed: bool):
    async def work(engine: TorchEngine) -> None:
        begin = read if streamed else TorchEngine.generate
        gate._open = True
        await engine.generate(GenerateRequest("r", [], Sampling(max_tokens=1), [1], prompt="the"))
        gate._open = False
        tasks = [asyncio.ensure_future(begin(engine, asked("the"))) for _ in range(4)]
        while len(engine._requests) < 4:
            gate._permits.release()
            await asyncio.sleep(0.001)
        await gate.steps(1)
        assert (engine.stats.in_flight, engine.stats.waiting) == (1, 3)
        await leave(tasks[2])
        await gate.steps(1)
        assert (engine.stats.in_flight, engine.stats.waiting) == (1, 2)
        for task in tasks[:2] + tasks[3:]:
            await leave(task)
        await gate.steps(1)
        assert (engine.stats.in_flight, engine.stats.waiting) == (0, 0)

    with_engine(folder, gate, work)


def test_a_likelihood_frees_its_slot_and_its_place(folder: Path, gate: Gate):
    async def work(engine: TorchEngine) -> None:
        request = LikelihoodRequest("r", [LONG, LONG])
        running, queued = (asyncio.ensure_future(engine.likelihood(request)) for _ in range(2))
        while len(engine._likelihoods._asked) < 2 or engine._likelihoods._now is None:
            gate._permits.release()
            await asyncio.sleep(0.001)
        assert engine._stepper.scheduler._memory.used
        await leave(queued)
        await leave(running)
        gate._open = True
        gate._permits.release()
        while engine._likelihoods.busy:
            await asyncio.sleep(0.001)
        assert not engine._stepper.scheduler._memory.used

    with_engine(folder, gate, work)
