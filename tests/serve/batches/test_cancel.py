"""A batch that is over before its end: what no engine has begun is not asked any more, what is under way ends and counts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.review.verify import verify_run
from raygen.runs.commit import committed_chunks, read_commits
from raygen.serve.batches import driver
from raygen.storage import open_store
from tests.fakes.batch_service import TENANT, answer_to, created, ended, lines, rows_of, running, settings

ROWS, SLOTS, SHARE = 96, 8, 6  # of the slots batches get three quarters
DELAY_S = 1.0
# All rows are at the model at once: six chunks of 16.
CONFIG: dict[str, Any] = {
    "options": {"delay_s": DELAY_S, "concurrency": SLOTS},
    "batches": {"rows_in_flight": ROWS},
}


def begun(service: Any, client: Any, rows: int = ROWS) -> str:
    """Make a batch, and wait until an engine has answered some of its rows."""
    batch: str = created(client, lines(rows)).id
    stats = service.service.catalog.links["echo"].replica.engine.stats
    until = time.monotonic() + 20
    while stats.requests < SHARE:
        assert time.monotonic() < until
        time.sleep(0.02)
    return batch


def run_of(store: Path, batch: str) -> Path:
    return store / "tenants" / TENANT / "batches" / batch / "run"


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_rows_that_no_engine_has_begun_are_not_asked_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    with running(settings(tmp_path, **CONFIG)) as service, service.client() as client:
        batch = begun(service, client)
        if status == "cancelled":
            client.batches.cancel(batch)
        else:
            monkeypatch.setattr(driver, "time", SimpleNamespace(time=lambda: time.time() + 10**6))
        found = ended(client, batch)
        asked = service.service.catalog.links["echo"].replica.engine.stats.requests
        good, rest = rows_of(client, found.output_file_id), rows_of(client, found.error_file_id)

    assert found.status == status
    # One look of the worker and one round of the engine, about; all rows would take sixteen rounds.
    assert SHARE <= len(good) < ROWS / 2
    assert asked == len(good)
    for name, line in good.items():
        told = line["response"]["body"]["choices"][0]["message"]["content"]
        assert told == answer_to(int(name[1:]))
    assert len(rest) == ROWS - len(good)
    assert {each["error"]["code"] for each in rest.values()} == {f"batch_{status}"}
    assert {each["response"] for each in rest.values()} == {None}
    counts = found.request_counts
    assert (counts.total, counts.completed, counts.failed) == (ROWS, len(good), 0)
    assert found.usage is not None
    assert found.usage.output_tokens == len(good)

    run = run_of(tmp_path, batch)
    store = open_store(str(run))
    commits = list(read_commits(store, sorted(committed_chunks(store))))
    assert sum(commit.counts["accepted"] for commit in commits) == len(good)
    assert sum(commit.unasked for commit in commits) == sum(commit.counts["failed"] for commit in commits) > 0
    checked = verify_run(str(run), replay="100%")
    assert checked.problems == []
    assert checked.differing == 0


def test_before_rows_count_as_expired_it_stands_that_the_batch_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker, whose clock is behind, must not complete a batch with rows that were never asked."""
    seen = []
    with running(settings(tmp_path, **CONFIG)) as service, service.client() as client:
        link = service.service.catalog.links["echo"]
        end_run = link.end_run

        async def watched(run: str, status: str) -> None:
            seen.append((json.loads((Path(run).parent / "finalizing.json").read_bytes())["why"], status))
            await end_run(run, status)

        monkeypatch.setattr(link, "end_run", watched)
        batch = begun(service, client)
        monkeypatch.setattr(driver, "time", SimpleNamespace(time=lambda: time.time() + 10**6))
        assert ended(client, batch).status == "expired"
    assert seen == [("expired", "expired")]


def test_a_worker_that_only_lets_go_of_a_batch_gives_up_no_row(tmp_path: Path) -> None:
    with running(settings(tmp_path, **CONFIG)) as service, service.client() as client:
        batch = begun(service, client, 32)
    store = open_store(str(run_of(tmp_path, batch)))
    assert sum(commit.unasked for commit in read_commits(store, sorted(committed_chunks(store)))) == 0
