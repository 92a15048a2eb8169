"""A model in this process: people are answered within bounds, and batches by the same engine."""

from __future__ import annotations

import asyncio

import pytest

from raygen.config.sampling import Sampling
from raygen.engines import engine_class
from raygen.engines.echo import echo_text
from raygen.engines.requests import GenerateRequest
from raygen.errors import BusyError, ModelReferenceError
from raygen.models.resolved import ResolvedModel
from raygen.program import resolve as program_resolve
from raygen.serve.config import ServiceConfig
from raygen.serve.models.catalog import Catalog
from raygen.serve.models.replica import Replica
from raygen.serve.tenants.tenant import Tenant
from raygen.wire.errors import ApiError


def service(**model):
    echo = {"family": "causal_lm", "engine": "echo", **model}
    return ServiceConfig.model_validate({"models": {"echo": echo}})


def request(number: int = 0) -> GenerateRequest:
    return GenerateRequest(f"r{number}", [{"role": "user", "content": "hi"}], Sampling(), [number])


def test_a_model_answers():
    async def ask():
        catalog = Catalog.of(service())
        await catalog.start()
        served = catalog.find("echo", Tenant("t"))
        found = await served.engine.generate(request())
        await catalog.close(0)
        return found.samples[0].text

    assert asyncio.run(ask()) == echo_text("r0", "hi", 0)


def test_a_full_queue_refuses_and_says_when_to_come_again():
    async def ask():
        catalog = Catalog.of(service(bound=1, options={"delay_s": 0.1, "concurrency": 1}))
        await catalog.start()
        link = catalog.links["echo"]
        first = [asyncio.create_task(link.engine.generate(request(n))) for n in range(2)]
        await asyncio.sleep(0.02)
        with pytest.raises(BusyError) as caught:
            await link.engine.generate(request(2))
        figures = await link.figures()
        await asyncio.gather(*first)
        await catalog.close(0)
        return caught.value, figures

    error, figures = asyncio.run(ask())
    assert 0 < error.retry_after_s <= 60
    assert (figures.running, figures.waiting) == (1, 1)


def test_a_name_that_is_not_there_or_not_allowed_is_not_found():
    catalog = Catalog.of(service())
    with pytest.raises(ApiError) as caught:
        catalog.find("gpt", Tenant("t"))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert "models: echo" in caught.value.message
    with pytest.raises(ApiError):
        catalog.find("echo", Tenant("t", models=frozenset({"other"})))


def test_an_engine_without_priorities_gives_batches_their_share_alone():
    async def most(share):
        made = service(batch_share=share, options={"delay_s": 0.02, "concurrency": 8}).models["echo"]
        engine = engine_class("echo")(ResolvedModel("echo", made.spec, None, "d"))
        replica = Replica(engine.model, made, engine)
        await replica.start()
        seen = []
        tasks = [asyncio.create_task(replica._behind.generate(request(n))) for n in range(16)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.002)
            seen.append(engine.stats.in_flight)
        await replica.close()
        return max(seen)

    assert asyncio.run(most(0.5)) == 4
    assert asyncio.run(most(1.0)) == 8


def test_adapters_that_come_later_are_found_where_the_service_keeps_its_models(monkeypatch):
    seen = []

    def resolve(ref, where, storage):
        seen.append((ref, where, storage.endpoint_url))
        raise ModelReferenceError("not there")

    monkeypatch.setattr(program_resolve, "resolve_adapter", resolve)
    config = {"models": {"echo": {"family": "causal_lm", "engine": "echo"}}}
    config["storage"] = {"endpoint_url": "http://127.0.0.1:9"}

    async def load():
        catalog = Catalog.of(ServiceConfig.model_validate(config))
        await catalog.start()
        with pytest.raises(ModelReferenceError):
            await catalog.links["echo"].load_adapter("late", "s3://models/late")
        await catalog.close(0)

    asyncio.run(load())
    assert seen == [("s3://models/late", "adapter 'late' of model 'echo'", "http://127.0.0.1:9")]
