"""What tests ask of the OpenAI engine, and of what answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from benchmarks.endpoint.mock import MockEndpoint, MockOptions, Reply
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.base import EngineStats
from raygen.engines.openai.engine import OpenAIEngine
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel

QUICK = MockOptions(latency_s=0.001)
Respond = Callable[[dict[str, Any], bytes], Reply | None]


def request(row_id: str = "r", prompt: str = "Hello", seeds: tuple[int, ...] = (1,)) -> GenerateRequest:
    return GenerateRequest(row_id, [{"role": "user", "content": prompt}], Sampling(), list(seeds))


def engine_of(base_url: str, **options: Any) -> OpenAIEngine:
    given = {"base_url": base_url, "start_patience_s": 0.3, "max_refused_s": 3.0, **options}
    spec = ModelSpec(family="causal_lm", engine="openai", ref="some/model", options=given)
    return OpenAIEngine(ResolvedModel("writer", spec, None, "endpoint"))


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def ask(
    *requests: GenerateRequest, mock: MockOptions = QUICK, respond: Respond | None = None, **options: Any
) -> tuple[list[GenerateResult | BaseException], EngineStats, MockEndpoint]:
    """Send requests at once to a mock; return what came of each, the engine's stats and the mock."""

    async def main() -> tuple[list[GenerateResult | BaseException], EngineStats, MockEndpoint]:
        async with MockEndpoint(mock, respond=respond) as endpoint:
            engine = engine_of(endpoint.url, **options)
            await engine.start()
            try:
                results = await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)
            finally:
                await engine.close()
            assert (engine.stats.in_flight, engine.stats.waiting) == (0, 0)
            return results, engine.stats, endpoint

    return run(main())


def failure(respond: Respond, **options: Any) -> RowError:
    (error,), _, _ = ask(request(), respond=respond, **options)
    assert isinstance(error, RowError)
    return error


def replies(status: int, error: dict[str, Any], headers: dict[str, str] | None = None) -> Respond:
    return lambda body, head: (status, headers or {}, orjson.dumps({"error": error}))


def only(prompt: str, reply: Reply) -> Respond:
    """Give this reply to this prompt alone."""
    return lambda body, head: reply if body["messages"][-1]["content"] == prompt else None


def recorder(bodies: list[dict[str, Any]]) -> Respond:
    def respond(body: dict[str, Any], head: bytes) -> None:
        bodies.append(body)

    return respond


def texts(result: GenerateResult | BaseException) -> list[str]:
    assert isinstance(result, GenerateResult)
    return [sample.text for sample in result.samples]
