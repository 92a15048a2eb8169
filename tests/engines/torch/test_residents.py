"""Adapters that are loaded and dropped while requests run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.echo import EchoEngine
from raygen.engines.requests import GenerateRequest, LikelihoodRequest
from raygen.engines.torch.engine import TorchEngine
from raygen.engines.torch.residents import Residents
from raygen.errors import EngineConfigError, EngineError, RowError
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from tests.engines.torch.test_adapters import save_lora
from tests.fakes.running import with_engine
from tests.fakes.tiny_llama import save_tiny, tiny_model

GREEDY = Sampling(temperature=0, max_tokens=12)
PROMPT = "the thin cat in the inn, and xyz"  # long enough for blocks that are kept


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny(folder / "model")
    for seed, name in enumerate(("one", "two"), 1):
        save_lora(folder / name, tiny_model(), "llama", seed, rank=3 * seed)
    save_lora(folder / "wide", tiny_model(intermediate_size=128), "llama", 1)
    save_lora(folder / "dora", tiny_model(), "llama", 1, use_dora=True)
    return folder


def adapter_of(folder: Path, name: str) -> ResolvedAdapter:
    return ResolvedAdapter(name, str(folder / name), f"digest of {name}")


def with_model(
    folder: Path, work: Callable[[TorchEngine], Awaitable[Any]], configured: str | None = None, **options: Any
) -> Any:
    ref = str(folder / "model")
    spec = ModelSpec(family="causal_lm", engine="torch", ref=ref, options={"threads": 1, **options})
    adapters = {configured: adapter_of(folder, configured)} if configured else {}
    return with_engine(TorchEngine(ResolvedModel("tiny", spec, ref, "sha256:0", adapters)), work)


def asked(adapter: str | None, sampling: Sampling = GREEDY) -> GenerateRequest:
    return GenerateRequest("r", [{"role": "user", "content": PROMPT}], sampling, [1], adapter)


async def text(engine: TorchEngine, adapter: str | None) -> str:
    return (await engine.generate(asked(adapter))).samples[0].text


def configured_text(folder: Path, name: str | None) -> str:
    return with_model(folder, lambda engine: text(engine, name), name)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(5000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


def test_a_loaded_adapter_answers_as_a_configured_one_does(folder: Path):
    async def work(engine: TorchEngine) -> list[str]:
        before = await text(engine, None)
        await engine.load_adapter("late", adapter_of(folder, "two"))
        assert list(engine.adapters) == ["late"]
        return [before, await text(engine, "late"), await text(engine, None)]

    before, late, after = with_model(folder, work)
    assert before == after == configured_text(folder, None)
    assert late == configured_text(folder, "two") != before


def test_who_is_under_way_keeps_its_text_while_adapters_come_and_go(folder: Path):
    long = Sampling(temperature=1, max_tokens=80)
    requests = [asked(name, long) for name in (None, "one")]

    async def work(engine: TorchEngine) -> list[Any]:
        tasks = [asyncio.create_task(engine.generate(request)) for request in requests]
        await until(lambda: engine.stats.in_flight == 2)
        for _ in range(3):
            await engine.load_adapter("late", adapter_of(folder, "two"))
            await text(engine, "late")
            await engine.drop_adapter("late")
        assert not any(task.done() for task in tasks)
        return await asyncio.gather(*tasks)

    def alone(request: GenerateRequest) -> Any:
        return with_model(folder, lambda engine: engine.generate(request), "one")

    assert with_model(folder, work, "one") == [alone(request) for request in requests]


def test_a_dropped_adapter_goes_with_its_last_request(folder: Path):
    long = asked("one", Sampling(temperature=0, max_tokens=100))

    async def work(engine: TorchEngine) -> Any:
        task = asyncio.create_task(engine.generate(long))
        await until(lambda: engine.stats.in_flight == 1)
        await engine.drop_adapter("one")
        with pytest.raises(RowError, match="has no adapter 'one'") as refused:
            await engine.generate(asked("one"))
        assert refused.value.code == "unknown_adapter"
        with pytest.raises(RowError, match="has no adapter 'one'"):
            await engine.likelihood(LikelihoodRequest("r", ["x"], adapter="one"))
        with pytest.raises(RowError, match="has no adapter 'one'"):
            await engine.drop_adapter("one")
        assert engine._bank.held == {"one"}
        result = await task
        await until(lambda: not engine._bank.held)
        assert not any(layer.parts for layer in engine._bank._layers.values())
        return result

    whole = with_model(folder, lambda engine: engine.generate(long), "one")
    assert with_model(folder, work, "one") == whole


def test_a_cancelled_request_gives_up_its_dropped_adapter_too(folder: Path):
    async def work(engine: TorchEngine) -> None:
        endless = asked("one", Sampling(max_tokens=120, min_tokens=120))
        task = asyncio.create_task(engine.generate(endless))
        await until(lambda: engine.stats.in_flight == 1)
        await engine.drop_adapter("one")
        task.cancel()
        await until(lambda: not engine._bank.held)
        assert engine.stats.in_flight == 0
        assert await text(engine, None)

    with_model(folder, work, "one")


def test_what_was_kept_for_an_adapter_is_never_another_ones_of_its_name(folder: Path):
    async def work(engine: TorchEngine) -> list[Any]:
        await engine.load_adapter("a", adapter_of(folder, "one"))
        first = [await engine.generate(asked("a")) for _ in range(2)]
        free = len(engine._stepper._prefixes._free)
        await engine.drop_adapter("a")
        await engine.load_adapter("a", adapter_of(folder, "two"))
        second = await engine.generate(asked("a"))
        await until(lambda: len(engine._stepper._prefixes._free) == free)
        return [*first, second]

    one, again, two = with_model(folder, work)
    assert again.cached_tokens > 0
    assert two.cached_tokens == 0
    assert one.samples[0].text == configured_text(folder, "one")
    assert two.samples[0].text == configured_text(folder, "two")


@pytest.mark.parametrize(
    ("name", "words"), [("dora", "sets use_dora"), ("wide", "is of another model"), ("none", "cannot read")]
)
def test_what_is_no_adapter_of_the_model_is_refused_and_nothing_changes(folder: Path, name: str, words: str):
    async def work(engine: TorchEngine) -> str:
        with pytest.raises(EngineConfigError, match=words):
            await engine.load_adapter("bad", adapter_of(folder, name))
        assert not engine.adapters
        assert not engine._bank.held
        assert not any(layer.parts for layer in engine._bank._layers.values())
        await engine.load_adapter("bad", adapter_of(folder, "one"))
        return await text(engine, "bad")

    assert with_model(folder, work, max_adapters=1) == configured_text(folder, "one")


def test_a_closed_engine_loads_nothing(folder: Path):
    async def work(engine: TorchEngine) -> TorchEngine:
        return engine

    engine = with_model(folder, work)
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(engine.load_adapter("one", adapter_of(folder, "one")))


def test_other_engines_say_that_they_load_none():
    engine = EchoEngine(ResolvedModel("e", ModelSpec(family="causal_lm", engine="echo"), None, "d"))
    assert not engine.loads_adapters
    with pytest.raises(RowError, match="loads no adapters") as refused:
        asyncio.run(engine.load_adapter("a", ResolvedAdapter("r", "p", "d")))
    assert refused.value.code == "engine_unsupported"


def resolved(digest: str) -> ResolvedAdapter:
    return ResolvedAdapter("r", "p", digest)


def test_places_are_bounded_and_used_again():
    residents = Residents({"a": resolved("1")}, 2)
    key = residents.place("b", resolved("2"))
    assert key is not None
    residents.add("b", key, resolved("2"))
    with pytest.raises(RowError, match="2 adapters are held") as full:
        residents.place("c", resolved("3"))
    assert full.value.code == "too_many_adapters"
    with residents.using("b") as used:
        assert used == key
        residents.drop("b")
        with pytest.raises(RowError, match="2 adapters are held"):
            residents.place("c", resolved("3"))
        assert not residents.leaving
    assert list(residents.leaving) == [key]
    assert residents.place("b", resolved("2")) not in (None, key)


def test_the_same_adapter_again_is_no_fault_and_another_of_its_name_is():
    residents = Residents({"a": resolved("1")}, 5)
    assert residents.place("a", resolved("1")) is None
    with pytest.raises(RowError, match="drop that one first") as refused:
        residents.place("a", resolved("2"))
    assert refused.value.code == "adapter_exists"
