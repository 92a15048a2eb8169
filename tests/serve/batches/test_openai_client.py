"""Files and batches by the official client: every method, every state, and what it is told when something is wrong."""

from __future__ import annotations

import json
import time

import httpx
import openai
import pytest

from raygen.errors import SourceError
from raygen.serve.batches.layout import Place
from tests.fakes.batch_service import (
    TENANT,
    created,
    ended,
    line,
    lines,
    rows_of,
    running,
    settings,
    uploaded,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with running(settings(tmp_path_factory.mktemp("store"))) as found:
        yield found.client()


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    config = settings(tmp_path_factory.mktemp("slow"), options={"delay_s": 0.2, "concurrency": 4})
    with running(config) as found:
        yield found.client()


def test_a_batch_comes_to_its_end_with_each_row_in_one_file(client):
    batch = ended(client, created(client, lines(40, failing=(7, 30)), metadata={"who": "me"}).id)
    assert batch.status == "completed"
    assert batch.metadata == {"who": "me"}
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        40,
        38,
        2,
    )
    assert batch.usage.output_tokens == 38
    assert batch.usage.total_tokens == batch.usage.input_tokens + 38
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    good, bad = rows_of(client, batch.output_file_id), rows_of(client, batch.error_file_id)
    assert list(bad) == ["r7", "r30"]
    assert {*good, *bad} == {f"r{n}" for n in range(40)}
    assert bad["r7"]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert good["r0"]["response"]["body"]["object"] == "chat.completion"


def test_result_files_are_listed_and_the_same_on_each_read(client):
    batch = ended(client, created(client, lines(3)).id)
    assert batch.error_file_id is None
    found = client.files.retrieve(batch.output_file_id)
    assert (found.purpose, found.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    first = client.files.content(batch.output_file_id).read()
    assert len(first) == found.bytes
    assert client.files.content(batch.output_file_id).read() == first
    assert batch.output_file_id in [each.id for each in client.files.list(purpose="batch_output")]
    assert batch.output_file_id not in [each.id for each in client.files.list(purpose="batch")]


def test_a_faulty_file_fails_its_batch_with_line_numbers(client):
    faulty = [
        line("a"), line("a"), "{", line("b", url="/v1/embeddings"), line("c", model="other"),
        line("d", temperature="hot"), line("e", stream=True), json.dumps({"custom_id": 5}), "",
    ]  # fmt: skip
    batch = ended(client, created(client, "\n".join(faulty).encode()).id)
    assert (batch.status, batch.output_file_id, batch.in_progress_at) == ("failed", None, None)
    assert batch.failed_at is not None
    found = {(each.line, each.code) for each in batch.errors.data}
    assert found == {
        (2, "duplicate_custom_id"), (3, "invalid_json_line"), (4, "url_mismatch"), (5, "model_mismatch"),
        (6, "invalid_request"), (7, "invalid_request"), (8, "invalid_request"), (8, "url_mismatch"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty_file"), (b"\n\n", "empty_batch"), (line("a", model="nope").encode(), "model_not_found")],
)
def test_files_that_hold_nothing_to_do_have_codes_of_their_own(client, content, code):
    batch = ended(client, created(client, content).id)
    assert [each.code for each in batch.errors.data] == [code]


def test_a_cancelled_batch_keeps_what_was_done_and_names_the_rest(slow):
    batch = created(slow, lines(60))
    while not slow.batches.retrieve(batch.id).request_counts.completed:
        time.sleep(0.05)
    assert slow.batches.cancel(batch.id).status == "cancelling"
    batch = ended(slow, batch.id)
    assert batch.status == "cancelled"
    assert batch.cancelling_at is not None
    good, rest = rows_of(slow, batch.output_file_id), rows_of(slow, batch.error_file_id)
    assert 0 < len(good) == batch.request_counts.completed < 60
    assert {*good, *rest} == {f"r{n}" for n in range(60)}
    assert {each["error"]["code"] for each in rest.values()} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        slow.batches.cancel(batch.id)


def test_failed_rows_are_retried_and_the_first_results_stay(client):
    batch = ended(client, created(client, lines(20, failing=(3,))).id)
    before = client.files.content(batch.output_file_id).read()
    client.post(f"/batches/{batch.id}/retry", cast_to=object)
    again = ended(client, batch.id)
    assert again.status == "completed"
    assert again.output_file_id != batch.output_file_id
    assert client.files.content(batch.output_file_id).read() == before
    assert client.files.content(again.output_file_id).read() == before
    assert list(rows_of(client, again.error_file_id)) == ["r3"]


def test_what_cannot_be_made_is_refused_by_key(client):
    file = uploaded(client, lines(1))
    asked = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    for change, param in (
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"completion_window": "1d"}, "completion_window"),
        ({"completion_window": "100h"}, "completion_window"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.create(**{**asked, **change})
        assert refused.value.param == param
    with pytest.raises(openai.NotFoundError) as refused:
        client.batches.create(**{**asked, "input_file_id": "file-nothing"})
    assert refused.value.code == "file_not_found"
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_../../x")
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("a.jsonl", b"x"), purpose="fine-tune")


def test_files_are_deleted_and_expire(client):
    file = client.files.create(
        file=("in.jsonl", lines(1)), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    assert client.files.content(file.id).read() == lines(1)
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert file.id not in [each.id for each in client.files.list()]


def test_listings_come_in_pages_newest_first(client):
    made = [ended(client, created(client, lines(1)).id).id for _ in range(5)]
    assert [each.id for each in client.batches.list(limit=2)][:5] == made[::-1]
    ids = [each.id for each in client.files.list(limit=3)]
    assert [each.id for each in client.files.list(limit=3, order="asc")] == ids[::-1]


@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_is_nested_too_deeply_fails_the_batch_by_its_number(client, first):
    deep = line("deep").replace('"model"', '"zz": ' + "[" * 250 + "]" * 250 + ', "model"', 1)
    file = "\n".join([deep, line("good")] if first else [line("good"), deep]).encode()
    batch = ended(client, created(client, file).id)
    assert batch.status == "failed"
    assert [(each.code, each.line) for each in batch.errors.data] == [
        ("invalid_json_line", 1 if first else 2)
    ]


@pytest.mark.parametrize("form", ["charset=unicode_escape", "charset=utf-7", "charset=undefined"])
def test_a_form_with_letters_of_its_own_is_read_or_refused(client, form):
    body = (
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B\r\nContent-Disposition: form-data; '
        b'name="file"; filename="\\ud800x+2AA-"\r\n\r\n{}\r\n--B--\r\n'
    )
    headers = {"content-type": f"multipart/form-data; boundary=B; {form}"}
    found = httpx.post(f"{client.base_url}files", content=body, headers=headers)
    assert found.status_code in (200, 400), found.text


def test_a_batch_without_a_plan_ends_when_it_is_cancelled(tmp_path, monkeypatch):
    def unreadable(job):
        raise SourceError("the rows cannot be read")

    monkeypatch.setattr("raygen.serve.batches.driver.prepare", unreadable)
    with running(settings(tmp_path)) as service:
        client = service.client()
        batch = created(client, lines(3)).id
        until = time.monotonic() + 10
        while client.batches.retrieve(batch).status == "validating" and time.monotonic() < until:
            time.sleep(0.1)
            if service.service.store.exists(Place(TENANT, batch).verdict):
                break
        client.batches.cancel(batch)
        assert ended(client, batch).status == "cancelled"
