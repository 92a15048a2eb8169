"""The OpenAI engine over a real connection to the loopback mock."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from pydantic import ValidationError

from benchmarks.endpoint.mock import MockEndpoint, MockOptions, Reply, mock_text, share
from raygen.config.constraint import Constraint
from raygen.config.sampling import Sampling
from raygen.engines.openai import engine as engine_module
from raygen.engines.openai.engine import OpenAIEngine
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.errors import EngineConfigError, EngineError, RowError
from raygen.program.job import Job
from tests.engines.asked import ask, engine_of, failure, only, recorder, replies, request, run, texts

SECRET = "sk-proj-Abc123"
pytestmark = pytest.mark.usefixtures("quick_endpoints")


def test_every_row_gets_its_own_answer():
    rows = [request(str(n), f"prompt {n}", (n,)) for n in range(200)]
    results, stats, mock = ask(*rows, concurrency=16)
    assert [texts(result) for result in results] == [[mock_text(f"prompt {n}", n, 0)] for n in range(200)]
    assert mock.counters.max_in_flight == 16
    assert (stats.requests, stats.usage) == (200, {"prompt_tokens": 400, "output_tokens": 3200})
    assert stats.extra == {
        "refused_429": 0,
        "retries": 0,
        "http_errors": 0,
        "usage_missing": 0,
        "logprobs_missing": 0,
    }


def test_samples_come_from_one_request_with_the_first_seed():
    bodies: list[dict[str, Any]] = []
    (result,), _, _ = ask(request(seeds=(5, 6, 7)), respond=recorder(bodies), extra_body={"min_p": 0.1})
    assert [(body["n"], body["seed"], body["min_p"], body["model"]) for body in bodies] == [
        (3, 5, 0.1, "some/model")
    ]
    assert texts(result) == [mock_text("Hello", 5, index) for index in range(3)]


def test_samples_can_have_a_request_each():
    bodies: list[dict[str, Any]] = []
    (result,), stats, _ = ask(request(seeds=(5, 6)), respond=recorder(bodies), one_request_per_sample=True)
    assert sorted(body["seed"] for body in bodies) == [5, 6]
    assert all("n" not in body for body in bodies)
    assert texts(result) == [mock_text("Hello", seed, 0) for seed in (5, 6)]
    assert (stats.requests, stats.usage) == (1, {"prompt_tokens": 1, "output_tokens": 32})


def test_one_sample_that_fails_fails_the_row_and_ends_the_others():
    def respond(body: dict[str, Any], head: bytes) -> Reply | None:
        return (400, {}, b"no") if body["seed"] == 2 else None

    row = request(seeds=(1, 2, 3))
    slow = MockOptions(latency_s=5)
    (error,), _, _ = ask(row, mock=slow, respond=respond, one_request_per_sample=True)
    assert isinstance(error, RowError)
    assert error.code == "bad_request"


def test_missing_choices_are_asked_for_again():
    bodies: list[dict[str, Any]] = []

    def one_choice(body: dict[str, Any], head: bytes) -> Reply:
        bodies.append(body)
        choice = {"message": {"content": f"seed {body['seed']}"}, "finish_reason": "length"}
        return 200, {}, orjson.dumps({"choices": [choice]})

    (result,), stats, _ = ask(request(seeds=(5, 6, 7)), respond=one_choice)
    assert [(body.get("n", 1), body["seed"]) for body in bodies] == [(3, 5), (2, 6), (1, 7)]
    assert texts(result) == ["seed 5", "seed 6", "seed 7"]
    assert stats.extra["usage_missing"] == 3


def test_the_seed_can_be_kept_back():
    bodies: list[dict[str, Any]] = []
    ask(request(), respond=recorder(bodies), send_seed=False)
    assert "seed" not in bodies[0]


def test_a_seed_is_sent_as_its_lowest_31_bits():
    bodies: list[dict[str, Any]] = []
    seeds = (4587555164180902, 2**31 - 1, 2**31, 7)
    ask(request(seeds=seeds), respond=recorder(bodies), one_request_per_sample=True)
    assert {body["seed"] for body in bodies} == {4587555164180902 % 2147483648, 2**31 - 1, 0, 7}


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_large_request_with_an_image_arrives_whole():
    bodies: list[dict[str, Any]] = []
    url = "data:image/png;base64," + "A" * 3 * 2**20
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    row = GenerateRequest("r", [{"role": "user", "content": content}], Sampling(), [1])
    (result,), _, _ = ask(row, respond=recorder(bodies))
    assert isinstance(result, GenerateResult)
    assert bodies[0]["messages"][0]["content"] == content


def test_the_key_is_sent(monkeypatch: pytest.MonkeyPatch):
    heads: list[bytes] = []

    def respond(body: dict[str, Any], head: bytes) -> None:
        heads.append(head)

    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    ask(request(), respond=respond)
    assert f"\r\nAuthorization: Bearer {SECRET}\r\n".encode() in heads[0]
    monkeypatch.delenv("OPENAI_API_KEY")
    ask(request(), respond=respond)
    assert b"Authorization" not in heads[1]


@pytest.mark.parametrize(
    ("status", "code"), [(400, "bad_request"), (422, "bad_request"), (413, "endpoint_4xx")]
)
def test_a_refused_row_fails_at_once(status: int, code: str):
    results, stats, mock = ask(request(), respond=replies(status, {"message": "no such role"}))
    (error,) = results
    assert isinstance(error, RowError)
    assert (error.code, error.message) == (code, f"HTTP {status}: no such role")
    assert (mock.counters.requests, stats.extra["http_errors"], stats.extra["retries"]) == (1, 1, 0)


def test_what_json_cannot_hold_costs_no_slot():
    (error, good), _, mock = ask(request(prompt="half a pair \ud800"), request(), concurrency=1)
    assert isinstance(error, RowError)
    assert error.code == "bad_request"
    assert texts(good) == [mock_text("Hello", 1, 0)]
    assert mock.counters.requests == 1


def test_a_long_message_is_cut():
    error = failure(replies(400, {"message": "x" * 5000}))
    assert len(error.message) == 300


def test_no_message_holds_the_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    # Across the place where the message is cut, half the key would remain if it were cut first.
    echo = replies(400, {"message": "y" * 280 + f" Bearer {SECRET}"})
    assert "sk-" not in failure(echo, api_key_env="MY_KEY").message
    (error,), _, _ = ask(
        request(), respond=replies(401, {"message": f"bad key {SECRET}"}), api_key_env="MY_KEY"
    )
    assert isinstance(error, EngineError)
    assert SECRET not in str(error)
    assert "refused with the key in environment variable MY_KEY" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {}, ["'writer'", "OPENAI_API_KEY is not set", "HTTP 401"]),
        (403, {}, ["no key is in use", "OPENAI_API_KEY is not set"]),
        (
            404,
            {"message": "model not found"},
            ["no model 'some/model'", "base_url http://127", "not found"],
        ),
        (307, {}, ["base_url", "HTTP 307"]),
        (429, {"message": "billing", "code": "insufficient_quota"}, ["OPENAI_API_KEY", "billing"]),
    ],
)
def test_what_no_row_survives_stops_the_engine(status: int, body: dict[str, Any], words: list[str]):
    rows = [request(str(n)) for n in range(20)]
    errors, _, mock = ask(*rows, respond=replies(status, body, {"Location": "/other"}), concurrency=2)
    assert {type(error) for error in errors} == {EngineConfigError}
    assert all(word in str(error) for error in errors for word in words)
    assert "\n" not in str(errors[0])
    assert mock.counters.requests <= 3  # two rows, and a probe: those who waited are not sent


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504])
def test_faults_that_may_pass_are_retried(status: int):
    calls: list[int] = []

    def twice(body: dict[str, Any], head: bytes) -> Reply | None:
        calls.append(1)
        return (status, {}, b"later") if len(calls) <= 2 else None

    (result,), stats, _ = ask(request(), respond=twice)
    assert texts(result) == [mock_text("Hello", 1, 0)]
    assert (stats.extra["retries"], stats.extra["http_errors"]) == (2, 2)


@pytest.mark.parametrize(
    ("status", "raw", "code"),
    [
        (500, b"broken", "endpoint_unavailable"),
        (503, b"down", "endpoint_unavailable"),
        (200, b"{", "bad_answer"),
        (200, b'{"error": {"message": "down"}}', "bad_answer"),
    ],
)
def test_retries_come_to_an_end(status: int, raw: bytes, code: str):
    rows = request(prompt="bad"), request("2", "good")
    (error, good), _, mock = ask(*rows, respond=only("bad", (status, {}, raw)), max_retries=2)
    assert isinstance(error, RowError)
    assert error.code == code
    assert error.message.startswith("asked 3 times: ")
    assert texts(good) == [mock_text("good", 1, 0)]
    assert mock.counters.requests == 5  # and a probe


def test_retry_after_of_an_error_is_honoured():
    times: list[float] = []

    def once(body: dict[str, Any], head: bytes) -> Reply | None:
        times.append(asyncio.get_running_loop().time())
        return (500, {"Retry-After": "0.2"}, b"") if len(times) == 1 else None

    ask(request(), respond=once)
    assert 0.2 <= times[1] - times[0] < 1


def test_refusals_do_not_use_up_the_retries():
    calls: list[int] = []

    def refuse(body: dict[str, Any], head: bytes) -> Reply | None:
        calls.append(1)
        return (429, {"Retry-After": "0.01"}, b"") if len(calls) <= 12 else None

    (result,), stats, _ = ask(request(), respond=refuse, max_retries=0)
    assert isinstance(result, GenerateResult)
    assert (stats.extra["refused_429"], stats.extra["retries"]) == (12, 12)


def test_a_refused_row_goes_before_fresh_ones():
    prompts: list[str] = []

    def refuse_first(body: dict[str, Any], head: bytes) -> Reply | None:
        prompts.append(body["messages"][0]["content"])
        return (429, {"Retry-After": "0.01"}, b"") if len(prompts) == 1 else None

    ask(*[request(prompt=prompt) for prompt in "abc"], respond=refuse_first, concurrency=1)
    assert prompts == ["a", "a", "b", "c"]


def test_a_row_that_is_always_refused_while_others_are_answered_fails():
    busy = orjson.dumps({"error": {"message": "too many tokens"}})
    rows = request("big", "big"), request("small", "small")
    (error, _), _, _ = ask(
        *rows, respond=only("big", (429, {"Retry-After": "0.02"}, busy)), max_refused_s=0.2
    )
    assert isinstance(error, RowError)
    assert (error.code, error.message) == ("endpoint_unavailable", "HTTP 429: too many tokens")


def test_a_busy_endpoint_gets_what_it_takes():
    rows = [request(str(n), f"prompt {n}", (n,)) for n in range(400)]
    mock = MockOptions(latency_s=0.02, refuse_above=8, retry_after="0.05")
    results, stats, endpoint = ask(*rows, mock=mock, concurrency=16)
    assert [texts(result) for result in results] == [[mock_text(f"prompt {n}", n, 0)] for n in range(400)]
    assert stats.extra["refused_429"] == endpoint.counters.refused == 8  # one burst, half of it taken
    assert stats.limit <= 8
    assert endpoint.counters.max_in_flight == 8


def test_mixed_faults_hit_only_the_rows_they_belong_to():
    rows = [request(str(n), f"prompt {n}", (n,)) for n in range(300)]
    mock = MockOptions(latency_s=0.001, error_rate=0.1, fail_5xx_rate=0.1, malformed_rate=0.1)
    results, stats, endpoint = ask(*rows, mock=mock)
    bad = {n for n in range(300) if share(f"prompt {n}") < 0.1}
    assert bad
    for n, result in enumerate(results):
        if n in bad:
            assert isinstance(result, RowError)
            assert result.code == "bad_request"
        else:
            assert texts(result) == [mock_text(f"prompt {n}", n, 0)]
    faults = endpoint.counters.errors_5xx + endpoint.counters.malformed
    assert stats.extra["retries"] == faults > 0


def test_a_slow_answer_is_a_time_out():
    rows = request(prompt="slow"), request("2", "quick")
    never: Reply = (0, {}, b"")
    (error, quick), _, mock = ask(*rows, respond=only("slow", never), timeout_s=0.2, max_retries=1)
    assert isinstance(error, RowError)
    assert error.code == "timeout"
    assert "0.2 s (timeout_s)" in error.message
    assert texts(quick) == [mock_text("quick", 1, 0)]
    assert mock.counters.requests == 4  # and a probe


def test_a_connection_that_breaks_is_retried():
    async def main() -> None:
        async with MockEndpoint(MockOptions(latency_s=0.1)) as mock:
            engine = engine_of(mock.url)
            await engine.start()
            task = asyncio.create_task(engine.generate(request()))
            while not mock.counters.in_flight:
                await asyncio.sleep(0.005)
            for connection in list(mock.connections):
                connection.abort()
            assert texts(await task) == [mock_text("Hello", 1, 0)]
            assert engine.stats.extra["retries"] == 1
            await engine.close()

    run(main())


def test_a_cancelled_row_gives_its_slot_back():
    async def main() -> None:
        async with MockEndpoint(MockOptions(latency_s=0.05)) as mock:
            engine = engine_of(mock.url, concurrency=1)
            await engine.start()
            first, second = (asyncio.create_task(engine.generate(request(str(n)))) for n in range(2))
            while not mock.counters.in_flight:
                await asyncio.sleep(0.005)
            assert (engine.stats.in_flight, engine.stats.waiting, engine.stats.limit) == (1, 1, 1)
            first.cancel()
            assert texts(await second) == [mock_text("Hello", 1, 0)]
            await engine.close()

    run(main())


def test_a_key_that_is_named_has_to_be_there(monkeypatch: pytest.MonkeyPatch):
    engine = engine_of("http://127.0.0.1:1/v1", api_key_env="MY_KEY")
    with pytest.raises(
        EngineError, match=r"'writer': environment variable MY_KEY \(api_key_env\) is not set"
    ):
        run(engine.start())
    monkeypatch.setenv("MY_KEY", "two\nlines")
    with pytest.raises(EngineError, match=r"MY_KEY \(api_key_env\) holds") as caught:
        run(engine.start())
    assert "two" not in str(caught.value)
    run(engine.close())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "base_url"),
        ({"base_url": "ftp://x/v1"}, "http:// or https://"),
        ({"base_url": "localhost:8000"}, "http:// or https://"),
        ({"base_url": f"https://me:{SECRET}@x/v1"}, "no user, password"),
        ({"base_url": f"https://x/v1?key={SECRET}"}, "query"),
        ({"base_url": "http://x/v1/chat/completions/"}, "before /chat/completions"),
        ({"base_url": "http://x:99999/v1"}, "Port out of range"),
        ({"base_url": "http://x:80a/v1"}, "Port could not be cast"),
        ({"base_url": "http://my host/v1"}, "no blanks"),
        ({"base_url": "http://x/v1\0"}, "no control characters"),
        ({"base_url": "http://a..b/v1"}, "'a..b' is no host's name"),
        ({"base_url": "http://xn--\xe9.example/v1"}, "is no host's name"),
        ({"base_url": "https://x/v1", "ca_file": "ca\0.pem"}, "the path of a file"),
        ({"base_url": "https://x/v1", "client_cert": ""}, "the path of a file"),
        ({"base_url": "http://x/v1", "api_key_env": SECRET}, "never hold the key itself"),
        ({"base_url": "http://x/v1", "api_key_env": "gsk_abc123"}, "never hold the key itself"),
        ({"base_url": "http://x/v1", "extra_body": {"n": 2, "min_p": 0.1}}, "n: set by the job"),
        ({"base_url": "http://x/v1", "concurrency": 0}, "concurrency"),
        ({"base_url": "http://x/v1", "api_key": SECRET}, "api_key"),
    ],
)
def test_wrong_options_are_refused_without_printing_a_key(options: dict[str, Any], says: str):
    with pytest.raises(ValidationError) as caught:
        OpenAIEngine.Options.model_validate(options)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "gsk_abc123" not in str(caught.value)


def test_what_the_engine_is():
    engine = engine_of("http://127.0.0.1:1/v1/", concurrency=9)
    assert engine.options.base_url == "http://127.0.0.1:1/v1"
    assert engine.capacity == 9
    assert (engine.has_weights, engine.replayable, "image" in engine.inputs) == (False, False, True)


def test_options_are_checked_without_loading_an_http_client():
    code = "import sys, raygen.engines.openai.engine; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_ready_job_is_valid():
    path = Path(engine_module.__file__).parents[3] / "jobs" / "openai_endpoint.yaml"
    job = Job.model_validate(yaml.safe_load(path.read_text()))
    assert {spec.engine for spec in job.models.values()} == {"openai"}


def test_a_constraint_that_the_endpoint_cannot_keep_is_not_sent():
    free, bound = request("free"), request("bound")
    bound.constraint = Constraint(choice=("yes", "no"))
    seen: list[dict[str, Any]] = []

    def note(body: dict[str, Any], raw: bytes) -> Reply | None:
        seen.append(body)
        return None

    results, _, _ = ask(free, bound, respond=note)
    assert isinstance(results[0], GenerateResult)
    assert isinstance(results[1], RowError)
    assert results[1].code == "engine_unsupported"
    assert len(seen) == 1
    results, _, _ = ask(bound, respond=note, structured_outputs=True)
    assert isinstance(results[0], GenerateResult)
    assert seen[-1]["structured_outputs"] == {"choice": ["yes", "no"]}


def test_a_constraint_and_an_extra_body_do_not_say_different_things():
    schema = Constraint(json_schema={"type": "object"})
    assert OpenAIEngine.constraint_fault(schema, {}) is None
    extra = {"extra_body": {"response_format": {"type": "json_object"}}}
    assert "beside options.extra_body.response_format" in str(OpenAIEngine.constraint_fault(schema, extra))


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (
            {"prompt": "go on"},
            "engine_unsupported",
            "takes chat messages, and no prompt that goes on as it is",
        ),
        ({"prompt_logprobs": 0}, "engine_unsupported", "does not tell how probable the tokens of a prompt"),
        ({"adapter": "de"}, "unknown_adapter", "has no adapter 'de'"),
    ],
)
def test_what_the_protocol_does_not_have_is_refused_and_never_ignored(
    changes: dict[str, Any], code: str, words: str
):
    asked = request()
    for name, value in changes.items():
        setattr(asked, name, value)
    (error,), _, _ = ask(asked)
    assert isinstance(error, RowError)
    assert error.code == code
    assert words in error.message
