"""The collector removes what crashes left and what is no more, and nothing else."""

from __future__ import annotations

import io

import pytest

from raygen.serve.batches.collector import GRACE_S, KEYS_S, collect
from raygen.serve.batches.idempotency import FIRST, Once
from raygen.serve.batches.layout import Place
from raygen.serve.batches.service import Batches
from raygen.serve.tenants.tenant import DEFAULT
from raygen.wire.errors import ApiError
from tests.exactly_once.memory_store import MemoryStore
from tests.fakes.batch_service import CHAT, TENANT, lines, settings


@pytest.fixture
def clock():
    return [1_000_000.0]


@pytest.fixture
def batches(clock):
    store = MemoryStore(lambda: clock[0])
    return Batches(store, settings(store.uri))


def upload(batches, once=FIRST):
    return batches.files.create(TENANT, io.BytesIO(lines(3)), "in.jsonl", None, once)["id"]


def create(batches, file):
    asked = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    return batches.requests.create(DEFAULT, asked)["id"]


def test_what_stands_stays_and_leftovers_go_after_the_grace(batches, clock):
    place = Place(TENANT, create(batches, upload(batches)))
    kept = set(batches.store.objects)
    orphans = {"tenants/default/contents/file-00-aa.jsonl", f"open/default.batch_{'0' * 24}"}
    for key in orphans:
        batches.store.put(key, b"x")
    assert collect(batches.objects) == []
    clock[0] += GRACE_S + 1
    removed = set(collect(batches.objects))
    assert orphans <= removed
    assert all("/recent/" in key for key in removed - orphans)
    assert kept - removed <= set(batches.store.objects)
    assert batches.store.exists(place.marker())


def test_a_batch_whose_marker_was_lost_is_found_again(batches):
    place = Place(TENANT, create(batches, upload(batches)))
    batches.store.delete(place.marker())
    collect(batches.objects)
    assert batches.store.exists(place.marker())


def test_a_deleted_file_stays_while_an_open_batch_reads_it(batches, clock):
    file = upload(batches)
    place = Place(TENANT, create(batches, file))
    batches.files.delete(TENANT, file)
    collect(batches.objects)
    content = batches.objects.find(place.request)["content"]
    assert batches.store.exists(content)
    batches.objects.settle(place.verdict, {"errors": [{}], "rows": 0, "model": None, "judged_s": 0.0})
    assert content in collect(batches.objects)
    with pytest.raises(ApiError, match="no file"):
        batches.files.get(TENANT, file)


def test_a_key_is_forgotten_after_a_week(batches, clock):
    file = upload(batches, Once("key"))
    assert upload(batches, Once("key")) == file
    clock[0] += KEYS_S + 1
    collect(batches.objects)
    assert upload(batches, Once("key")) != file
