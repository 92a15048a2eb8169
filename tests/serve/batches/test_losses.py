"""B11: replicas that are busy, loading or lost while they work on a batch; and a row that takes its replica along."""

from __future__ import annotations

import asyncio
import threading

import pytest

from raygen.data.sources.base import ERROR_CODE, rows_of
from raygen.errors import BusyError, ReplicaLostError
from raygen.runs.status import read_status
from raygen.serve.batches import execution
from raygen.serve.batches.service import Batches
from raygen.serve.models.catalog import Catalog
from raygen.storage import open_store
from tests.fakes.batch_service import TENANT, content, ended_here, lines, settings


@pytest.fixture
def loop():
    found = asyncio.new_event_loop()
    thread = threading.Thread(target=found.run_forever, daemon=True)
    thread.start()
    yield found
    found.call_soon_threadsafe(found.stop)
    thread.join(5)
    found.close()


def finished(tmp_path, loop, monkeypatch, ask):
    """Run a batch of 20 rows over a link whose chunks pass `ask` first; returns the batch and its files' lines."""
    monkeypatch.setattr(execution, "LONGEST_PAUSE_S", 0.01)
    config = settings(tmp_path / "store")
    catalog = Catalog.of(config)
    asyncio.run_coroutine_threadsafe(catalog.start(), loop).result(10)
    link = catalog.links["echo"]
    run_chunk = link.run_chunk

    async def asked(work, rows):
        ask([row["custom_id"] for row in rows_of(rows, ["custom_id"])], rows.column(ERROR_CODE).null_count)
        return await run_chunk(work, rows)

    link.run_chunk = asked
    batches = Batches.of(open_store(config.store), config)
    worker = batches.worker(catalog)
    worker.start(loop)
    try:
        batch = ended_here(batches, lines(20))
    finally:
        worker.stop()
    return batch, content(batches, batch)


def test_a_row_that_kills_its_process_fails_alone(tmp_path, loop, monkeypatch):
    def ask(rows, unmarked):
        if "r5" in rows and unmarked == len(rows):
            raise ReplicaLostError("gone", 0.0)

    batch, (good, bad) = finished(tmp_path, loop, monkeypatch, ask)
    assert batch["status"] == "completed"
    assert {*good} == {f"r{n}" for n in range(20)} - {"r5"}
    assert bad["r5"]["response"]["body"]["error"]["code"] == "engine_lost"
    assert bad["r5"]["response"]["status_code"] == 500


def test_a_chunk_that_was_under_way_at_one_death_is_sent_again_whole(tmp_path, loop, monkeypatch):
    sent: list[int] = []

    def ask(rows, unmarked):
        sent.append(len(rows))
        if len(sent) == 1:
            raise ReplicaLostError("gone", 0.0)

    _, (good, bad) = finished(tmp_path, loop, monkeypatch, ask)
    assert (len(good), len(bad)) == (20, 0)
    assert 1 not in sent


def test_a_model_that_is_busy_is_asked_again_and_fails_nothing(tmp_path, loop, monkeypatch):
    refused: list[int] = []

    def ask(rows, unmarked):
        if len(refused) < 30:
            refused.append(1)
            raise BusyError("full", 0.001)

    batch, (good, bad) = finished(tmp_path, loop, monkeypatch, ask)
    assert (batch["status"], len(good), len(bad)) == ("completed", 20, 0)


def test_the_batch_is_a_run_that_commands_read(tmp_path, loop, monkeypatch, cli):
    batch, _ = finished(tmp_path, loop, monkeypatch, lambda rows, unmarked: None)
    run = tmp_path / "store" / "tenants" / TENANT / "batches" / batch["id"] / "run"
    assert read_status(open_store(str(run))).state == "finished"
    assert '"row_id":"r0"' in cli("show", run, "--json").out
    assert cli("verify", run).code == 0
    assert cli("export", run, "--to", tmp_path / "out").code == 0
