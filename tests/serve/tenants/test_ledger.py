"""The ledger counts each request once, through stores that fail, and knows what a month used."""

from __future__ import annotations

import time

import pytest

from raygen.errors import StorageError, UnknownResultError
from raygen.serve.config import ServedModel
from raygen.serve.tenants.ledger import Ledger, read_usage, tenants_in, usage_record
from raygen.storage import open_store
from raygen.storage.sealed import seal
from raygen.usage import Usage


def month() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m")


def test_amounts_add_up_over_gateways_and_writes(tmp_path):
    store = open_store(str(tmp_path))
    for gateway in (Ledger(store), Ledger(store)):
        for _ in range(2):
            gateway.add("acme", "smol", Usage(prompt_tokens=3, output_tokens=2))
            gateway.flush()
    line = read_usage(store, "acme", month())["smol"]
    assert (line.requests, dict(line.usage)) == (4, {"prompt_tokens": 12, "output_tokens": 8})
    assert tenants_in(store) == ["acme"]


def test_what_could_not_be_written_is_written_later(tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    ledger = Ledger(store)
    ledger.add("acme", "smol", Usage(output_tokens=2))

    def away(*_):
        raise StorageError("away")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_if_absent", away)
        with pytest.raises(StorageError):
            ledger.flush()
    ledger.flush()
    ledger.flush()
    assert read_usage(store, "acme", month())["smol"].requests == 1


def test_a_store_that_is_away_costs_no_tenant_its_count(tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    ledger = Ledger(store)
    monkeypatch.setattr("raygen.storage.create.WRITE_TRIES", 1)

    def away(*_):
        raise UnknownResultError("away")

    for _ in range(2):
        for tenant in ("acme", "bolt", "crow"):
            ledger.add(tenant, "smol", Usage(output_tokens=2))
        with monkeypatch.context() as patch:
            patch.setattr(type(store), "put_if_absent", away)
            with pytest.raises(StorageError):
                ledger.flush()
    assert ledger.month_tokens("crow") == 4
    ledger.flush()
    for tenant in ("acme", "bolt", "crow"):
        assert read_usage(store, tenant, month())["smol"].requests == 2


def test_a_write_whose_answer_was_lost_counts_once(tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    ledger = Ledger(store)
    monkeypatch.setattr("raygen.storage.create.WRITE_TRIES", 1)
    write = type(store).put_if_absent

    def lost(self, key, data):
        write(self, key, data)
        raise UnknownResultError("the answer was lost")

    def unreadable(*_):
        raise StorageError("away")

    ledger.add("acme", "smol", Usage(output_tokens=2))
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_if_absent", lost)
        patch.setattr(type(store), "get", unreadable)
        with pytest.raises(StorageError):
            ledger.flush()
    ledger.add("acme", "smol", Usage(output_tokens=3))
    ledger.flush()
    line = read_usage(store, "acme", month())["smol"]
    assert (line.requests, dict(line.usage)) == (2, {"output_tokens": 5})


def test_a_month_counts_what_is_not_written_yet(tmp_path):
    store = open_store(str(tmp_path))
    ledger = Ledger(store)
    ledger.add("acme", "smol", Usage(output_tokens=2))
    ledger.flush()
    assert ledger.month_tokens("acme") == 2
    ledger.add("acme", "smol", Usage(output_tokens=5))
    assert ledger.month_tokens("acme") == 7


def test_money_follows_from_prices(tmp_path):
    store = open_store(str(tmp_path))
    ledger = Ledger(store)
    ledger.add("acme", "smol", Usage(output_tokens=500_000))
    ledger.flush()
    model = ServedModel.model_validate(
        {"family": "causal_lm", "engine": "echo", "prices": {"per_million": {"output_tokens": 3}}}
    )
    told = usage_record(read_usage(store, "acme", month()), lambda name: model)
    assert (told["smol"]["cost"], told["smol"]["currency"]) == (1.5, "EUR")


def test_batches_count_with_their_last_end(tmp_path):
    store = open_store(str(tmp_path))

    def end(name: str, tokens: int) -> None:
        record = {
            "model": "smol",
            "counts": {"completed": 3, "failed": 1},
            "usage": {"output_tokens": tokens},
        }
        store.put(f"tenants/acme/ends/{name}.json", seal({**record, "ended_s": time.time()}))

    end("batch_a", 5)
    end("batch_b", 7)
    end("batch_b-1", 9)
    end("batch_b-10", 11)
    line = read_usage(store, "acme", month())["smol"]
    assert (line.requests, line.usage["output_tokens"]) == (8, 16)
    assert read_usage(store, "acme", "2001-01") == {}
    assert Ledger(store).month_tokens("acme") == 16
    assert tenants_in(store) == ["acme"]
