"""The application answers over HTTP, in process: whole, in pieces, and with refusals that say what is wrong."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from raygen.engines.echo import EchoEngine
from raygen.serve.app import make_app
from raygen.serve.config import ServiceConfig
from raygen.serve.service import Service

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def serving(tmp_path, options=None, **config):
    models = {"echo": {"family": "causal_lm", "engine": "echo", "options": options or {}}}
    service = Service.of(ServiceConfig.model_validate({"store": str(tmp_path), "models": models, **config}))
    with TestClient(make_app(service), base_url="http://127.0.0.1") as http:
        http.portal.call(service.start)
        yield http, service
        http.portal.call(service.close)


@contextmanager
def client(tmp_path):
    with serving(tmp_path) as (http, _):
        yield http


def test_a_chat_is_answered_whole(tmp_path):
    with client(tmp_path) as http:
        found = http.post("/v1/chat/completions", json=CHAT)
    assert found.status_code == 200
    assert found.json()["choices"][0]["finish_reason"] == "stop"


def test_a_chat_is_answered_in_pieces_that_end_with_done(tmp_path):
    with client(tmp_path) as http:
        found = http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    lines = [line for line in found.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"


def test_the_seed_that_was_drawn_is_told_and_draws_the_same_again(tmp_path, monkeypatch):
    seeds = []
    generate = EchoEngine.generate

    async def seen(engine, request):
        seeds.append(list(request.seeds))
        return await generate(engine, request)

    monkeypatch.setattr(EchoEngine, "generate", seen)
    with client(tmp_path) as http:
        first, other = (http.post("/v1/chat/completions", json=CHAT).headers["x-raygen-seed"] for _ in "ab")
        again = http.post("/v1/chat/completions", json={**CHAT, "seed": int(first)})
    assert first != other
    assert "x-raygen-seed" not in again.headers
    assert seeds[0] == seeds[2] != seeds[1]


def test_a_refusal_names_the_key(tmp_path):
    with client(tmp_path) as http:
        found = http.post("/v1/chat/completions", json={"model": "echo"})
    assert (found.status_code, found.json()["error"]["param"]) == (400, "messages")


def test_what_is_not_on_the_list_is_not_there(tmp_path):
    with client(tmp_path) as http:
        for path in (
            "/v1/chat/completions/",
            "//v1/models",
            "/v1/%6dodels",
            "/docs",
            "/v1",
        ):
            found = http.get(path)
            assert found.status_code == 404, path
            assert found.json()["error"]["code"] == "not_found"
        assert http.get("/v1/chat/completions").status_code == 405


HTML = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_who_types_the_address_gets_the_console_and_a_program_where_things_are(tmp_path):
    with client(tmp_path) as http:
        typed = http.get("/?next=//evil.example", headers=HTML, follow_redirects=False)
        shown = http.get("/", headers=HTML)
        for accept in ("*/*", "application/json"):
            told = http.get("/", headers={"accept": accept}, follow_redirects=False)
            assert (told.status_code, told.headers["vary"]) == (200, "accept")
            assert {http.get(place).status_code for place in told.json().values()} == {200}
        assert http.post("/", json={}).status_code == 405
        assert http.head("/").status_code == 200
        assert 'endpoint="/",model="-",status="307"' in http.get("/metrics").text
    assert (typed.status_code, typed.headers["location"]) == (307, "/console")
    assert typed.headers["x-frame-options"] == "DENY"
    assert shown.url.path == "/console"
    assert shown.headers["content-type"].startswith("text/html")


def test_where_things_are_is_told_without_a_key_and_says_nothing_of_the_service(tmp_path):
    with serving(tmp_path, keys={"required": True}) as (http, _):
        told = http.get("/")
        assert http.get("/v1/models").status_code == 401
    assert told.status_code == 200
    assert "echo" not in told.text


def test_a_page_of_another_site_does_not_get_to_the_console(tmp_path):
    with client(tmp_path) as http:
        found = http.get("/", headers={**HTML, "host": "evil.example"}, follow_redirects=False)
    assert (found.status_code, found.json()["error"]["code"]) == (403, "host_not_allowed")


def test_pages_of_other_sites_may_not_ask(tmp_path):
    with client(tmp_path) as http:
        assert http.get("/v1/models", headers={"origin": "http://evil.example"}).status_code == 403
        assert http.get("/v1/models", headers={"host": "evil.example"}).status_code == 403
        assert http.get("/v1/models", headers={"origin": "http://127.0.0.1"}).status_code == 200
        for broken in ("[::1", "[zz]:80", "a]"):
            assert http.get("/v1/models", headers={"host": broken}).status_code == 403, broken
            assert http.get("/v1/models", headers={"origin": f"http://{broken}"}).status_code == 403, broken


def test_a_large_body_is_refused_before_it_is_read(tmp_path):
    with client(tmp_path) as http:
        found = http.post("/v1/chat/completions", content=b" " * (5 * 2**20))
        endless = http.post("/v1/chat/completions", headers={"content-length": "9" * 5000}, content=b"{}")
    assert (found.status_code, found.json()["error"]["code"]) == (413, "body_too_large")
    assert endless.status_code == 413


def test_every_answer_is_named(tmp_path):
    with client(tmp_path) as http:
        assert http.get("/v1/models", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
        found = http.get("/v1/models", headers={"x-request-id": "no <good>"})
        assert found.headers["x-request-id"] != "no <good>"
        wrong = http.post("/v1/chat/completions", json={"model": "gpt", "messages": [{"role": "user"}]})
        assert wrong.json()["error"]["request_id"] == wrong.headers["x-request-id"]
        assert wrong.json()["error"]["code"] == "model_not_found"


def test_what_has_no_effect_is_named(tmp_path):
    with client(tmp_path) as http:
        found = http.post("/v1/chat/completions", json={**CHAT, "user": "me", "wish": 1})
    assert found.headers["x-raygen-ignored"] == "user, wish"


def test_health_and_metrics(tmp_path):
    with client(tmp_path) as http:
        assert http.get("/health").json() == {"status": "ok", "models": {"echo": "ready"}}
        http.post("/v1/chat/completions", json=CHAT)
        text = http.get("/metrics").text
    assert 'raygen_requests_total{endpoint="/v1/chat/completions",model="echo",status="200"} 1' in text
    assert 'raygen_usage_total{model="echo",unit="output_tokens"} 1' in text


def test_a_service_that_is_ending_takes_nothing_new(tmp_path):
    with serving(tmp_path) as (http, service):
        service.draining = True
        found = http.post("/v1/chat/completions", json=CHAT)
        assert http.get("/health/ready").status_code == 503
        assert http.get("/health/live").status_code == 200
    assert (found.status_code, found.json()["error"]["code"]) == (503, "shutting_down")
    assert int(found.headers["retry-after"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_given_up_and_the_engine_told(tmp_path, stream):
    with serving(tmp_path, {"delay_s": 600}, gateway={"longest_answer_s": 1}) as (http, service):
        found = http.post("/v1/chat/completions", json={**CHAT, "stream": stream})
        figures = http.portal.call(service.catalog.links["echo"].figures)
    assert (found.status_code, found.json()["error"]["code"]) == (504, "answer_too_long")
    assert figures.running == figures.waiting == 0
