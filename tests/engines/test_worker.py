"""The worker thread: what OpenMP is told before torch is loaded, and engines of one process that compute in turns."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines import worker
from raygen.engines.encoder.engine import EncoderEngine
from raygen.engines.requests import ClassifyRequest, GenerateRequest
from raygen.engines.torch.engine import TorchEngine
from raygen.engines.worker import Turns, start_torch
from raygen.models.resolved import ResolvedModel
from tests.fakes.tiny_encoders import save_encoder, tiny_encoder
from tests.fakes.tiny_llama import save_tiny

SHOW = """
import os, sys
from raygen.engines.worker import start_torch
assert "torch" not in sys.modules
start_torch(1, "cpu")
print(os.environ["GOMP_SPINCOUNT"], os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "30000 PASSIVE"), ({"GOMP_SPINCOUNT": "7"}, "7 PASSIVE")]
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(given: dict[str, str], expected: str):
    kept = {name: value for name, value in os.environ.items() if "OMP" not in name}
    found = subprocess.run(
        [sys.executable, "-c", SHOW], env=kept | given, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == expected


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_first_come_first_served() -> None:
    turns, order = Turns(), []

    def work(name: str) -> None:
        with turns:
            order.append(name)

    with turns:
        threads = []
        for name in "abcdef":
            threads.append(threading.Thread(target=work, args=(name,), daemon=True))
            threads[-1].start()
            while len(turns._line) < len(threads) + 1:
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join(5)
    assert order == list("abcdef")
    with turns:
        pass


def test_a_turn_ends_with_an_error_too() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        with turns:
            raise ZeroDivisionError
    with turns:
        pass


def test_each_thread_keeps_the_threads_that_it_was_started_with() -> None:
    found: dict[int, int] = {}
    steps = {threads: threading.Event() for threads in (3, 1)}

    def engine(threads: int, before: threading.Event | None) -> None:
        if before is not None:
            before.wait(5)
        start_torch(threads, "cpu")
        steps[threads].set()
        steps[1].wait(5)  # the last one has set its own
        found[threads] = torch.get_num_threads()

    workers = [
        threading.Thread(target=engine, args=(3, None)),
        threading.Thread(target=engine, args=(1, steps[3])),
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert found == {3: 3, 1: 1}


def test_two_engines_in_one_process_take_turns_and_change_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lm").mkdir()
    (tmp_path / "nli").mkdir()
    lm, nli = save_tiny(tmp_path / "lm"), save_encoder(tmp_path / "nli", tiny_encoder("bert", ("yes", "no")))
    rng = random.Random(3)
    texts = ["".join(rng.choices("the and xyz ", k=rng.randint(1, 60))) for _ in range(10)]
    together = most = 0
    came = set()

    class Watched(Turns):
        def __enter__(self) -> None:
            nonlocal together, most
            super().__enter__()
            together += 1
            came.add(threading.current_thread().name.partition("-")[0])
            most = max(most, together)

        def __exit__(self, *_: object) -> None:
            nonlocal together
            together -= 1
            super().__exit__()

    monkeypatch.setattr(worker, "CPU", Watched())

    def writer(threads: int) -> TorchEngine:
        spec = ModelSpec(family="causal_lm", engine="torch", ref=str(lm), options={"threads": threads})
        return TorchEngine(ResolvedModel("writer", spec, str(lm), "x"))

    def judge(threads: int) -> EncoderEngine:
        spec = ModelSpec(family="classifier", engine="encoder", ref=str(nli), options={"threads": threads})
        return EncoderEngine(ResolvedModel("nli", spec, str(nli), "x"))

    async def answers(*engines: TorchEngine | EncoderEngine) -> list[object]:
        for engine in engines:
            await engine.start()
        try:
            asked = []
            for engine in engines:
                for row, text in enumerate(texts):
                    message = [{"role": "user", "content": text}]
                    if isinstance(engine, TorchEngine):
                        asked.append(
                            engine.generate(
                                GenerateRequest(f"r{row}", message, Sampling(max_tokens=8), [row])
                            )
                        )
                    else:
                        asked.append(engine.classify(ClassifyRequest(f"r{row}", [(text, text[::-1])])))
            return [
                getattr(each, "samples", None) or each.probabilities for each in await asyncio.gather(*asked)
            ]
        finally:
            for engine in engines:
                await engine.close()

    alone = asyncio.run(answers(writer(1))) + asyncio.run(answers(judge(1)))
    assert asyncio.run(answers(writer(2), judge(1))) == alone
    assert (most, came) == (1, {"torch", "encoder"})
