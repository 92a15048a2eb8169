"""What only Ray Serve can show: the proxy in front, models that come and go, clients that leave, queues that are full."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import psutil
import pytest

from tests.ray.processes import wait_until
from tests.serve.on_ray import OnRay

pytestmark = pytest.mark.ray

MB = 2**20
LARGE_MB = 1024 if os.environ.get("RAYGEN_FULL") else 256


def figure(service: OnRay, name: str, model: str) -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=10).text
    found = re.search(rf'^raygen_model_{name}{{model="{model}"}} (\S+)$', text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


def test_health_tells_of_every_model_and_wakes_none(service: OnRay) -> None:
    found = httpx.get(f"{service.url}/health", timeout=10).json()
    assert found["models"]["echo"] == "ready"
    assert found["models"]["sleeper"] == "cold"
    assert figure(service, "wanted", "sleeper") == 0


def test_a_model_at_zero_comes_when_it_is_asked_refuses_what_is_too_many_and_goes(service: OnRay) -> None:
    lines = list(streamed(service, "sleeper"))
    assert lines[-1] == "data: [DONE]"
    assert figure(service, "replicas", "sleeper") == 1
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: service.chat("sleeper", f"{number}"), range(6)))
    # One was answered, one waited for that, and the others heard when to come back.
    assert sorted(each.status_code for each in found) == [200, 200, 429, 429, 429, 429]
    refused = next(each for each in found if each.status_code == 429)
    assert refused.json()["error"]["code"] == "model_busy"
    assert float(refused.headers["retry-after"]) > 0
    wait_until(lambda: figure(service, "wanted", "sleeper") == 0, 30, "no replica")
    wait_until(lambda: not service.processes("model_sleeper"), 10, "its process to end")


def streamed(service: OnRay, model: str, said: str = "hi", **headers: str) -> Iterator[str]:
    body = {"model": model, "messages": [{"role": "user", "content": said}], "stream": True}
    url = f"{service.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        yield from filter(None, answer.iter_lines())


@pytest.mark.parametrize("headers", [{}, {"x-request-disconnect-disabled": "?1"}])
def test_a_client_that_leaves_a_stream_ends_it_whatever_its_headers_say(
    service: OnRay, headers: dict[str, str]
) -> None:
    pieces = streamed(service, "talker", "at length", **headers)  # it would talk for 20 s
    next(pieces)
    wait_until(lambda: figure(service, "running", "talker") == 1, 8, "it to talk")
    pieces.close()
    wait_until(lambda: figure(service, "running", "talker") == 0, 8, "nobody to be talked to")


@pytest.mark.parametrize(
    ("path", "said", "headers"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "at length"}]}, {}),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "at length"}]},
            {"x-request-disconnect-disabled": "?1"},
        ),
        ("completions", {"prompt": "at length"}, {}),
        ("completions", {"prompt": "at length", "stream": True}, {}),
    ],
)
def test_a_client_that_leaves_before_a_whole_answer_ends_it(
    service: OnRay, path: str, said: dict[str, object], headers: dict[str, str]
) -> None:
    # It would talk for 20 s. The figures that are looked at are up to a second old.
    body = {"model": "talker", **said}

    def ask() -> None:
        with httpx.stream(
            "POST", f"{service.url}/v1/{path}", json=body, headers=headers, timeout=5
        ) as answer:
            for _ in answer.iter_lines():
                if gone.is_set():
                    return

    gone = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        wait_until(lambda: figure(service, "running", "talker") == 1, 8, "it to talk")
        gone.set()
        if "stream" in said:
            asked.result()
        else:
            with pytest.raises(httpx.ReadTimeout):
                asked.result()
    wait_until(lambda: figure(service, "running", "talker") == 0, 8, "nobody to be talked to")


def test_json_ten_thousand_deep_is_refused_and_hurts_nobody(service: OnRay) -> None:
    body = b'{"model": "echo", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    found = httpx.post(f"{service.url}/v1/chat/completions", content=body, timeout=30)
    assert (found.status_code, found.json()["error"]["type"]) == (400, "invalid_request_error")
    assert service.chat("echo").status_code == 200


@pytest.mark.timeout(240)
def test_a_row_that_kills_its_model_s_process_fails_alone(service: OnRay) -> None:
    def line(name: str, text: str) -> str:
        body = {"model": "talker", "messages": [{"role": "user", "content": text}]}
        told = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(told)

    rows = [line(f"r{n}", "poison" if n == 3 else f"hi {n}") for n in range(8)]
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="-") as client:
        file = client.files.create(file=("in.jsonl", "\n".join(rows).encode()), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        wait_until(lambda: client.batches.retrieve(batch.id).status == "completed", 200, "the batch's end")
        batch = client.batches.retrieve(batch.id)
        names = (batch.output_file_id, batch.error_file_id)
        good, bad = (
            [json.loads(each) for each in client.files.content(name or "").iter_lines()] for name in names
        )
    assert sorted(each["custom_id"] for each in good) == sorted(f"r{n}" for n in range(8) if n != 3)
    assert [each["custom_id"] for each in bad] == ["r3"]
    assert bad[0]["response"]["body"]["error"]["code"] == "engine_lost"
    service.healthy()


def test_a_client_cannot_shorten_the_time_that_an_answer_may_take(service: OnRay) -> None:
    headers = {"x-request-timeout-seconds": "0.01"}
    assert list(streamed(service, "talker", **headers))[-1] == "data: [DONE]"


@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_is_refused_before_it_is_read(service: OnRay, declared: bool) -> None:
    proxy = psutil.Process(service.one("ProxyActor").pid)
    gateway = psutil.Process(service.one("gateway").pid)
    before = [each.memory_info().rss for each in (proxy, gateway)]
    block = b" " * MB

    def blocks() -> Iterator[bytes]:
        for _ in range(LARGE_MB):
            yield block

    headers = {"content-length": str(LARGE_MB * MB)} if declared else {}
    try:
        found = httpx.post(
            f"{service.url}/v1/chat/completions", content=blocks(), headers=headers, timeout=30
        )
        assert found.status_code == 413
        assert found.json()["error"]["code"] == "body_too_large"
    except (httpx.WriteError, httpx.ReadError):
        pass  # the server had answered and closed while the client was still writing
    after = [each.memory_info().rss for each in (proxy, gateway)]
    assert [now - then < 20 * MB for then, now in zip(before, after, strict=True)] == [True, True]


def test_paths_that_serve_itself_would_answer_are_closed(service: OnRay) -> None:
    found = httpx.get(f"{service.url}/-/routes")
    assert (found.status_code, found.json()["error"]["code"]) == (404, "not_found")
    assert httpx.get(f"{service.url}/-/healthz").text == "success"


def test_an_answer_has_one_name(service: OnRay) -> None:
    found = service.chat("echo")
    assert "," not in found.headers["x-request-id"]
    assert found.json()["id"].endswith(found.headers["x-request-id"])
