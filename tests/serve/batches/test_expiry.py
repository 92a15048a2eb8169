"""Files whose time is over are no more: for those who read, list, or make a batch of them."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from raygen.serve.batches import files
from raygen.serve.batches.pages import Page
from raygen.serve.batches.service import Batches
from raygen.serve.tenants.tenant import DEFAULT
from raygen.wire.errors import ApiError
from tests.exactly_once.memory_store import MemoryStore
from tests.fakes.batch_service import CHAT, TENANT, lines, settings


def test_a_file_is_there_to_its_last_second_and_then_no_more(monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(files, "time", SimpleNamespace(time=lambda: now[0]))
    store = MemoryStore(lambda: now[0])
    batches = Batches(store, settings(store.uri))
    name = batches.files.create(TENANT, io.BytesIO(lines(1)), "in.jsonl", 3600)["id"]
    body = {"input_file_id": name, "endpoint": CHAT, "completion_window": "24h"}

    now[0] += 3599
    assert b"".join(batches.files.content(TENANT, name).pieces) == lines(1)
    assert [each["id"] for each in batches.files.listed(TENANT, Page(10))["data"]] == [name]

    now[0] += 1
    for ask in (
        lambda: batches.files.get(TENANT, name),
        lambda: batches.files.content(TENANT, name),
        lambda: batches.requests.create(DEFAULT, body),
    ):
        with pytest.raises(ApiError) as refused:
            ask()
        assert (refused.value.status, refused.value.code) == (404, "file_not_found")
    assert batches.files.listed(TENANT, Page(10))["data"] == []
