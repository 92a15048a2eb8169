"""The openai engine when its endpoint goes away, comes back, or wants nobody: over real connections to the loopback mock."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from benchmarks.endpoint.mock import MockEndpoint, MockOptions, Reply, mock_text, prompt_of
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.openai.circuit import Circuit
from raygen.engines.openai.engine import OpenAIEngine
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.engines.silence import silences
from raygen.errors import EngineConfigError, RowError
from raygen.models.resolved import ResolvedModel

QUICK = MockOptions(latency_s=0.001)
Respond = Callable[[dict[str, Any], bytes], Reply | None]
BLOCKED: Reply = (403, {}, b"<html>Sorry, you have been blocked</html>")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("raygen.engines.openai.backoff.BASE_S", 0.001)
    monkeypatch.setattr("raygen.engines.openai.breaker.FIRST_PROBE_S", 0.02)
    monkeypatch.setattr("raygen.engines.openai.breaker.LONGEST_PROBE_S", 0.05)
    monkeypatch.setattr("raygen.engines.openai.breaker.PROOF_S", 0.05)


def request(row_id: str) -> GenerateRequest:
    return GenerateRequest(row_id, [{"role": "user", "content": row_id}], Sampling(), [1])


@asynccontextmanager
async def engine_at(url: str, **options: Any) -> AsyncIterator[OpenAIEngine]:
    given = {"base_url": url, "start_patience_s": 0.3, **options}
    spec = ModelSpec(family="causal_lm", engine="openai", ref="some/model", options=given)
    engine = OpenAIEngine(ResolvedModel("writer", spec, None, "endpoint"))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(engine: OpenAIEngine, *rows: str) -> list[str]:
    """Return what became of each row: `ok`, a RowError's code, or `ended`."""
    results = await asyncio.gather(*(engine.generate(request(row)) for row in rows), return_exceptions=True)
    found = []
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, GenerateResult):
            assert result.samples[0].text == mock_text(row, 1, 0)
        elif not isinstance(result, RowError | EngineConfigError):
            raise result
        found.append(
            "ok"
            if isinstance(result, GenerateResult)
            else result.code
            if isinstance(result, RowError)
            else "ended"
        )
    return found


async def why(engine: OpenAIEngine) -> str:
    """Return what ended the engine."""
    with pytest.raises(EngineConfigError) as caught:
        await engine.generate(request("late"))
    return str(caught.value)


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))


def rows(count: int) -> list[str]:
    return [f"row {n}" for n in range(count)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def by_prompt(replies: dict[str, Reply]) -> Respond:
    return lambda body, head: replies.get(prompt_of(body))


def error(status: int, message: str, **words: Any) -> Reply:
    return status, {}, orjson.dumps({"error": {"message": message, **words}})


def test_rows_wait_while_nothing_listens_and_lose_no_retry():
    async def main() -> None:
        port = free_port()
        async with engine_at(f"http://127.0.0.1:{port}/v1", max_retries=0, concurrency=8) as engine:
            async with MockEndpoint(QUICK, port):
                assert await ask(engine, *rows(20)) == ["ok"] * 20
            task = asyncio.create_task(ask(engine, *rows(50)))
            await asyncio.sleep(0.5)
            (line,) = silences(engine.stats.extra)
            assert line.startswith("writer's endpoint does not answer since ")
            assert "(connection refused); asking again every 0.05 s; gives up at " in line
            assert not task.done()
            async with MockEndpoint(QUICK, port) as back:
                assert await task == ["ok"] * 50
                assert back.counters.requests == 51  # one probe found it
            assert silences(engine.stats.extra) == []

    run(main)


@pytest.mark.parametrize("reply", [error(500, "down"), error(503, "loading"), (200, {}, b"<html>")])
def test_an_outage_is_told_from_rows_that_fail(reply: Reply):
    """Whatever form it has: once everybody is answered again, all rows are done."""

    async def main() -> None:
        away = False
        async with MockEndpoint(QUICK, respond=lambda body, head: reply if away else None) as mock:
            async with engine_at(mock.url, max_retries=1, concurrency=8) as engine:
                assert await ask(engine, *rows(20)) == ["ok"] * 20
                away = True
                task = asyncio.create_task(ask(engine, *rows(50)))
                await asyncio.sleep(0.5)
                assert mock.counters.requests < 120
                away = False
                assert await task == ["ok"] * 50

    run(main)


def test_a_wrong_port_ends_the_run_soon_and_fails_no_row():
    async def main() -> None:
        url = f"http://127.0.0.1:{free_port()}/v1"
        async with engine_at(url) as engine:
            assert await ask(engine, *rows(200)) == ["ended"] * 200
            message = await why(engine)
            assert f"base_url {url} has not answered at all, in 0.3 s (start_patience_s)" in message
            assert (
                "nothing listens there. Is the address right, and the server running? No row failed of it, "
                "and nothing is lost: run the same command again" in message
            )

    run(main)


def test_a_host_that_does_not_exist_is_a_wrong_address_too():
    async def main() -> None:
        async with engine_at("http://models.invalid/v1") as engine:
            assert await ask(engine, "a") == ["ended"]
            assert "http://models.invalid/v1 has not answered at all" in await why(engine)

    run(main)


def test_a_server_that_loads_its_model_is_waited_for_longer():
    async def main() -> None:
        loading = True
        respond = lambda body, head: error(503, "loading") if loading else None  # noqa: E731
        async with MockEndpoint(QUICK, respond=respond) as mock, engine_at(mock.url) as engine:
            task = asyncio.create_task(ask(engine, *rows(50)))
            await asyncio.sleep(0.8)  # start_patience_s is 0.3
            assert not task.done()
            loading = False
            assert await task == ["ok"] * 50

    run(main)


def test_an_endpoint_that_stays_away_ends_the_run_as_a_whole():
    async def main() -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}/v1"
        async with engine_at(url, max_refused_s=0.4) as engine:
            async with MockEndpoint(QUICK, port):
                assert await ask(engine, "a") == ["ok"]
            assert await ask(engine, *rows(20)) == ["ended"] * 20
            message = await why(engine)
            assert f"base_url {url} does not answer since " in message
            assert "given up after 0.4 s (max_refused_s)" in message

    run(main)


def test_refusals_of_everybody_have_one_clock():
    async def main() -> None:
        refuse: Reply = (429, {"Retry-After": "0.02"}, b'{"error": {"message": "tokens per day"}}')
        async with MockEndpoint(QUICK, respond=lambda body, head: refuse) as mock:
            async with engine_at(mock.url, max_refused_s=0.5) as engine:
                began = asyncio.get_running_loop().time()
                assert await ask(engine, *rows(40)) == ["ended"] * 40
                assert asyncio.get_running_loop().time() - began < 10
                message = await why(engine)
        assert "refuses every request so far: given up after 0.5 s (max_refused_s)" in message
        assert "HTTP 429: tokens per day" in message

    run(main)


def test_a_row_that_always_fails_is_its_own_fault_also_when_it_is_the_last():
    async def main() -> None:
        poison = by_prompt({"poison": error(500, "boom")})
        async with MockEndpoint(QUICK, respond=poison) as mock, engine_at(mock.url) as engine:
            assert await ask(engine, *rows(30), "poison") == ["ok"] * 30 + ["endpoint_unavailable"]
            assert await ask(engine, "poison") == ["endpoint_unavailable"]
        async with MockEndpoint(QUICK, respond=poison) as mock, engine_at(mock.url) as engine:
            assert await ask(engine, "poison") == ["endpoint_unavailable"]  # nothing has worked before

    run(main)


def test_a_row_that_takes_its_server_down_costs_itself_alone():
    async def main() -> None:
        port = free_port()
        crashed = asyncio.Event()

        def crash(body: dict[str, Any], head: bytes) -> Reply | None:
            if prompt_of(body) != "poison":
                return None
            crashed.set()
            return 0, {}, b""

        crashes = 0

        async def supervise() -> None:
            nonlocal crashes
            while True:
                async with MockEndpoint(MockOptions(latency_s=0.01), port, crash):
                    await crashed.wait()  # leaving breaks every connection
                crashed.clear()
                crashes += 1
                await asyncio.sleep(0.05)

        supervisor = asyncio.create_task(supervise())
        await asyncio.sleep(0.05)
        async with engine_at(f"http://127.0.0.1:{port}/v1", concurrency=32) as engine:
            names = [*rows(60), "poison", *(f"more {n}" for n in range(60))]
            found = dict(zip(names, await ask(engine, *names), strict=True))
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
        assert found.pop("poison") == "endpoint_unavailable"
        assert set(found.values()) == {"ok"}
        assert 7 <= crashes <= 11

    run(main)


def test_half_of_the_requests_fail_and_all_rows_are_done():
    async def main() -> None:
        mock_options = MockOptions(latency_s=0.002, fail_5xx_rate=0.5)
        async with MockEndpoint(mock_options) as mock:
            async with engine_at(mock.url, concurrency=16, max_retries=40) as engine:
                assert await ask(engine, *rows(200)) == ["ok"] * 200

    run(main)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (BLOCKED, "blocked"),
        (error(401, "not for this model"), "blocked"),
        (error(404, "no"), "endpoint_4xx"),
        (error(405, "no"), "endpoint_4xx"),
    ],
)
def test_a_denied_row_is_its_own_fault_first_last_or_between(reply: Reply, code: str, concurrency: int):
    async def main() -> None:
        async with MockEndpoint(QUICK, respond=by_prompt({"BAD": reply})) as mock:
            async with engine_at(mock.url, concurrency=concurrency) as engine:
                assert await ask(engine, "BAD") == [code]
                assert await ask(engine, *rows(10), "BAD", *rows(10)) == ["ok"] * 10 + [code] + ["ok"] * 10
                assert await ask(engine, "BAD") == [code]

    run(main)


def test_denied_rows_among_others_need_no_probe(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raygen.engines.openai.breaker.PROOF_S", 1.0)

    async def main() -> None:
        prompts: list[str] = []

        def respond(body: dict[str, Any], head: bytes) -> Reply | None:
            prompts.append(prompt_of(body))
            return BLOCKED if prompts[-1].startswith("BAD") else None

        async with MockEndpoint(MockOptions(latency_s=0.005), respond=respond) as mock:
            async with engine_at(mock.url, concurrency=2) as engine:
                assert await ask(engine, "first") == ["ok"]
                names = [f"{kind} {n}" for n in range(30) for kind in ("BAD", "good")]
                assert await ask(engine, *names) == ["blocked", "ok"] * 30
        assert (
            len(prompts) <= len(names) + 30 + 3
        )  # each denied row twice; the last may find nobody sent after it

    run(main)


def test_a_moment_of_denials_that_no_probe_met_costs_no_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raygen.engines.openai.breaker.PROOF_S", 0.3)

    async def main() -> None:
        away = False
        respond = lambda body, head: error(404, "no route") if away else None  # noqa: E731
        async with MockEndpoint(QUICK, respond=respond) as mock, engine_at(mock.url) as engine:
            assert await ask(engine, *rows(10)) == ["ok"] * 10
            away = True
            task = asyncio.create_task(ask(engine, *rows(20)))
            while mock.counters.requests < 30:
                await asyncio.sleep(0.01)
            away = False
            assert await task == ["ok"] * 20

    run(main)


def test_a_key_that_is_revoked_ends_the_run_and_fails_no_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raygen.engines.openai.breaker.DENIED_S", 0.2)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-Abc123")

    async def main() -> None:
        revoked = False
        respond = lambda body, head: error(401, "bad key") if revoked else None  # noqa: E731
        async with MockEndpoint(QUICK, respond=respond) as mock, engine_at(mock.url) as engine:
            assert await ask(engine, *rows(10)) == ["ok"] * 10
            revoked = True
            assert await ask(engine, *rows(100)) == ["ended"] * 100
            message = await why(engine)
            assert "refused with the key in environment variable OPENAI_API_KEY since " in message
            assert "HTTP 401: bad key" in message

    run(main)


def test_a_gateway_that_denies_for_a_moment_is_waited_for():
    async def main() -> None:
        away = False
        respond = lambda body, head: error(404, "no route") if away else None  # noqa: E731
        async with MockEndpoint(QUICK, respond=respond) as mock, engine_at(mock.url) as engine:
            assert await ask(engine, *rows(10)) == ["ok"] * 10
            away = True
            task = asyncio.create_task(ask(engine, *rows(100)))
            await asyncio.sleep(0.4)
            away = False
            assert await task == ["ok"] * 100

    run(main)


@pytest.mark.parametrize(
    "reply",
    [
        error(402, "Insufficient Balance"),
        error(429, "quota", code="insufficient_quota"),
        error(400, "limit", code="billing_hard_limit_reached"),
    ],
)
def test_an_account_that_is_spent_ends_the_run_at_once(reply: Reply):
    async def main() -> None:
        spent = False
        async with MockEndpoint(QUICK, respond=lambda body, head: reply if spent else None) as mock:
            async with engine_at(mock.url) as engine:
                assert await ask(engine, *rows(10)) == ["ok"] * 10
                spent = True
                assert await ask(engine, *rows(100)) == ["ended"] * 100
                assert (
                    "nothing is left to spend on the key in environment variable OPENAI_API_KEY; pay"
                    in await why(engine)
                )

    run(main)


def test_an_answer_to_what_was_sent_before_a_denial_proves_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raygen.engines.openai.breaker.PROOF_S", 1.0)
    monkeypatch.setattr("raygen.engines.openai.breaker.DENIED_S", 0.0)

    async def main() -> None:
        revoked = False
        respond = lambda body, head: error(401, "bad key") if revoked else None  # noqa: E731
        async with MockEndpoint(MockOptions(latency_s=0.2), respond=respond) as mock:
            async with engine_at(mock.url) as engine:
                assert await ask(engine, "first") == ["ok"]
                slow = asyncio.create_task(ask(engine, "slow"))
                while not mock.counters.in_flight:
                    await asyncio.sleep(0.01)
                revoked = True
                assert await ask(engine, "late") == ["ended"]
                assert await slow == ["ok"]

    run(main)


def test_a_long_silence_that_is_asked_for_is_told_before_it_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raygen.engines.openai.breaker.SHOWN_S", 0.1)
    monkeypatch.setattr("raygen.engines.openai.circuit.SHOWN_S", 0.1)
    refuse: Reply = (429, {"Retry-After": "28800"}, b"tokens per day")

    async def main() -> None:
        async with MockEndpoint(QUICK, respond=lambda body, head: refuse) as mock:
            async with engine_at(mock.url, max_refused_s=1.5) as engine:
                task = asyncio.create_task(ask(engine, *rows(20)))
                await asyncio.sleep(0.7)
                (line,) = silences(engine.stats.extra)
                assert "refuses every request since " in line
                assert "(HTTP 429, it asks for 8 h of silence); gives up at " in line
                assert await task == ["ended"] * 20

    run(main)


def test_a_connection_that_is_refused_costs_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raygen.engines.openai.backoff.PARDONS", 0)

    async def main() -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}/v1"
        async with engine_at(url, max_retries=0, start_patience_s=60) as engine:
            task = asyncio.create_task(ask(engine, *rows(20)))
            await asyncio.sleep(0.2)
            async with MockEndpoint(QUICK, port):
                assert await task == ["ok"] * 20

    run(main)


def test_a_row_that_failed_while_the_probe_did_is_asked_again_once_others_are_answered():
    async def main() -> None:
        refused = asyncio.Event()
        asked: list[str] = []

        def respond(body: dict[str, Any], head: bytes) -> Reply | None:
            asked.append(prompt_of(body))
            if asked[-1] == "Hello":  # the probe
                refused.set()
                return error(429, "later")
            return error(500, "boom") if asked.count("flaky") == 1 and asked[-1] == "flaky" else None

        async with MockEndpoint(QUICK, respond=respond) as mock:
            async with engine_at(mock.url, max_retries=0) as engine:
                assert await ask(engine, "first") == ["ok"]
                flaky = asyncio.create_task(ask(engine, "flaky"))
                await refused.wait()
                await asyncio.sleep(0.05)
                assert await ask(engine, "other") == ["ok"]
                assert await flaky == ["ok"]
        assert asked.count("flaky") == 2

    run(main)


def test_a_probe_that_fails_in_a_way_nobody_thought_of_is_one_that_failed(monkeypatch: pytest.MonkeyPatch):
    probes = 0
    send = OpenAIEngine._probe

    async def probe(engine: OpenAIEngine) -> Any:
        nonlocal probes
        probes += 1
        if probes < 3:
            raise ZeroDivisionError("a bug")
        return await send(engine)

    monkeypatch.setattr(OpenAIEngine, "_probe", probe)

    async def main() -> None:
        away = False
        respond = lambda body, head: error(500, "boom") if away else None  # noqa: E731
        async with MockEndpoint(QUICK, respond=respond) as mock, engine_at(mock.url) as engine:
            assert await ask(engine, "first") == ["ok"]
            away = True
            task = asyncio.create_task(ask(engine, *rows(20)))
            await asyncio.sleep(0.2)
            away = False
            assert await task == ["ok"] * 20
        assert probes >= 3

    run(main)


def test_an_error_of_our_own_costs_no_slot(monkeypatch: pytest.MonkeyPatch):
    hear = Circuit.heard

    def heard(circuit: Circuit, ticket: int, answer: Any) -> None:
        if ticket == 0:
            raise ZeroDivisionError("a bug")
        hear(circuit, ticket, answer)

    monkeypatch.setattr(Circuit, "heard", heard)

    async def main() -> None:
        async with MockEndpoint(QUICK) as mock, engine_at(mock.url, concurrency=1) as engine:
            with pytest.raises(ZeroDivisionError):
                await engine.generate(request("first"))
            assert await ask(engine, *rows(3)) == ["ok"] * 3

    run(main)
