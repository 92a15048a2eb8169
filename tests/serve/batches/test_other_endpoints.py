"""Batches of other endpoints than chats: each line of vectors, labels, evaluations or pictures is answered as over HTTP."""

from __future__ import annotations

import json

import pytest

from raygen.serve.config import ServiceConfig
from tests.fakes.batch_service import created, ended, rows_of, running

FAMILIES = {"nli": "classifier", "minilm": "embedder", "painter": "diffusion"}
RAIN = {"items": [{"text": "It rains.", "row": {"source": "It pours."}}]}
BODIES = {
    "/v1/embeddings": [{"model": "minilm", "input": "a"}, {"model": "minilm", "input": [1]}],
    "/v1/classifications": [{"model": "nli", "input": {"text": "a", "text_pair": "b"}}],
    "/v1/evaluations": [
        {"check": {"length": {"at_most": 3}}, **RAIN},
        {"model": "nli", "check": {"entailment": {"premise": "{{ source }}"}}, **RAIN},
    ],
    "/v1/images/generations": [{"model": "painter", "prompt": "a cat", "size": "8x8"}],
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    models = {name: {"family": family, "engine": "echo"} for name, family in FAMILIES.items()}
    store = str(tmp_path_factory.mktemp("store"))
    with running(ServiceConfig.model_validate({"store": store, "models": models})) as found:
        yield found.client()


def answers(client, path, bodies):
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": path, "body": body} for n, body in enumerate(bodies)
    ]
    file = "".join(json.dumps(line) + "\n" for line in lines).encode()
    batch = ended(client, created(client, file, endpoint=path).id)
    assert batch.status == "completed", batch.errors
    found = {}
    for each in (batch.output_file_id, batch.error_file_id):
        found |= rows_of(client, each) if each else {}
    return [found[line["custom_id"]]["response"] for line in lines]


@pytest.mark.parametrize("path", BODIES)
def test_a_line_is_answered_as_the_same_request_over_http(client, path):
    for body, told in zip(BODIES[path], answers(client, path, BODIES[path]), strict=True):
        over_http = client._client.post(f"{client.base_url}".removesuffix("v1/") + path[1:], json=body)
        assert told["status_code"] == over_http.status_code
        assert set(told["body"]) == set(over_http.json())


def test_evaluations_that_ask_no_model_need_none(client):
    body = {"check": {"length": {"at_most": 1}}, **RAIN}
    assert answers(client, "/v1/evaluations", [body])[0]["body"]["aggregate"]["passed"] == 0
