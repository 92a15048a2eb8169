"""The application answers over HTTP, in process: whole, in pieces, and with refusals that say what is wrong."""

from __future__ import annotations

import json
from contextlib import contextmanager

from starlette.testclient import TestClient

from raygen.serve.app import make_app
from raygen.serve.config import ServiceConfig
from raygen.serve.service import Service

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def client(tmp_path):
    models = {"echo": {"family": "causal_lm", "engine": "echo"}}
    service = Service.of(ServiceConfig.model_validate({"store": str(tmp_path), "models": models}))
    with TestClient(make_app(service), raise_server_exceptions=False) as found:
        found.portal.call(service.start)
        yield found
        found.portal.call(service.close)


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


def test_a_refusal_names_the_key(tmp_path):
    with client(tmp_path) as http:
        found = http.post("/v1/chat/completions", json={"model": "echo"})
    assert (found.status_code, found.json()["error"]["param"]) == (400, "messages")
