"""What a client gets inline and on Ray Serve: the same, by the official client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(service_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service_url}/v1", api_key="-", max_retries=0) as found:
        yield found


def chatted(client: openai.OpenAI, **more: object) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model="echo", messages=CHAT, **more)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert {"echo", "talker", "slow", "sleeper"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("echo").owned_by == "raygen"


def test_an_answer_by_its_seed_and_name_is_the_same_every_time(client: openai.OpenAI) -> None:
    named = {"seed": 7, "extra_headers": {"x-request-id": "the-same"}}
    found = [chatted(client, **named) for _ in range(2)]
    assert len({each.choices[0].message.content for each in found}) == 1
    assert {each.id for each in found} == {"chatcmpl-the-same"}


def test_a_stream_comes_to_the_text_of_the_whole_answer(client: openai.OpenAI) -> None:
    said = {"model": "echo", "messages": CHAT, "seed": 3, "extra_headers": {"x-request-id": "the-same"}}
    whole = client.chat.completions.create(**said).choices[0].message.content
    chunks = client.chat.completions.create(**said, stream=True, stream_options={"include_usage": True})
    pieces = list(chunks)
    assert "".join(c.choices[0].delta.content or "" for c in pieces if c.choices) == whole
    assert pieces[-1].usage is not None


def test_several_answers_come_side_by_side(client: openai.OpenAI) -> None:
    found = chatted(client, n=3)
    assert [choice.index for choice in found.choices] == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
        ({"model": "echo", "temperature": "hot"}, openai.BadRequestError, "invalid_value"),
    ],
)
def test_refusals_are_the_protocol_s(
    client: openai.OpenAI, body: dict[str, object], error: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(error) as refused:
        client.chat.completions.create(messages=CHAT, **body)
    assert refused.value.code == code
    assert refused.value.request_id


def test_what_is_no_json_and_what_is_no_path_are_refused_in_json(service_url: str) -> None:
    broken = httpx.post(f"{service_url}/v1/chat/completions", content=b"{")
    assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")
    nowhere = httpx.get(f"{service_url}/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")


def test_the_address_alone_leads_to_the_console(service_url: str) -> None:
    typed = httpx.get(f"{service_url}/", headers={"accept": "text/html"})
    assert (typed.status_code, typed.headers["location"]) == (307, "/console")
    told = httpx.get(service_url)
    assert (told.status_code, told.json()["console"]) == (200, "/console")


def test_a_page_of_another_site_is_refused(service_url: str) -> None:
    found = httpx.get(f"{service_url}/v1/models", headers={"origin": "https://elsewhere.example"})
    assert (found.status_code, found.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_a_batch_goes_from_its_file_to_its_results(client: openai.OpenAI) -> None:
    bodies = ({"model": "echo", "messages": [{"role": "user", "content": f"{n}"}]} for n in range(20))
    lines = (
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(bodies)
    )
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    until_s = time.monotonic() + 60
    while batch.status != "completed" and time.monotonic() < until_s:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.output_file_id is not None
    found = [json.loads(line) for line in client.files.content(batch.output_file_id).iter_lines()]
    assert [line["custom_id"] for line in found] == [f"r{n}" for n in range(20)]
    assert client.files.retrieve(batch.output_file_id).filename == f"{batch.id}_output.jsonl"
    assert (
        client.files.content(batch.output_file_id).read() == client.files.content(batch.output_file_id).read()
    )
    assert batch.id in [each.id for each in client.batches.list(limit=5)]
    assert {file.id, batch.output_file_id} <= {each.id for each in client.files.list()}


def test_a_batch_is_cancelled_and_its_file_deleted(client: openai.OpenAI) -> None:
    line = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "slow", "messages": CHAT}}
    data = "\n".join(json.dumps({"custom_id": f"r{n}", **line}) for n in range(300)).encode()
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    until_s = time.monotonic() + 60
    while batch.status == "validating" and time.monotonic() < until_s:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    client.batches.cancel(batch.id)
    while batch.status != "cancelled" and time.monotonic() < until_s:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "cancelled"
    names = [each for each in (batch.output_file_id, batch.error_file_id) if each is not None]
    told = [json.loads(line) for name in names for line in client.files.content(name).iter_lines()]
    assert sorted(each["custom_id"] for each in told) == sorted(f"r{n}" for n in range(300))
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
