"""The collector removes what no commit refers to, past the grace period, and nothing else."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from raygen.errors import CorruptDataError
from raygen.runs.collect import collect
from raygen.runs.commit import Attempt
from raygen.runs.manifest import finish
from raygen.storage import LocalStore
from raygen.storage.sealed import seal
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import a_plan, put_chunk

PLAN = a_plan(2)
NOW_S, GRACE_S = 1000.0, 100.0


def data_of(store: MemoryStore) -> set[str]:
    return {key for key in store.objects if "data/" in key}


@pytest.fixture
def store() -> MemoryStore:
    """Chunk 0 is committed and has an orphan; chunk 1 has data without a commit. All of it is 200 s old."""
    store = MemoryStore(lambda: NOW_S - 200)
    put_chunk(store, PLAN, 0)
    put_chunk(store, PLAN, 0, mark="orphan")
    put_chunk(store, PLAN, 1, commit_now=False)
    return store


def test_an_orphan_goes_and_the_rest_stays(store: MemoryStore) -> None:
    (live,) = [put_chunk(store, PLAN, 0)[0].data]
    before = data_of(store)
    sizes = {key: len(data) for key, (data, _) in store.objects.items()}
    found = collect(store, GRACE_S, now_s=NOW_S)
    assert live in data_of(store)
    assert set(found.removed) == before - data_of(store)
    assert len(found.removed) == 2
    assert found.removed_bytes == sum(sizes[key] for key in found.removed)
    assert (found.young, found.pending) == (0, 1)


def test_data_of_a_chunk_without_a_commit_stays_however_old(store: MemoryStore) -> None:
    found = collect(store, 0, now_s=NOW_S * 1000)
    assert found.pending == 1
    assert any("00000001-" in key for key in data_of(store))
    put_chunk(store, PLAN, 1)
    assert any("00000001-" in key for key in collect(store, 0, now_s=NOW_S * 1000).removed)


def test_what_is_young_stays(store: MemoryStore) -> None:
    found = collect(store, 201, now_s=NOW_S)
    assert (found.removed, found.young, found.pending) == ([], 1, 1)
    assert len(collect(store, 200, now_s=NOW_S).removed) == 1


def test_the_clock_is_now_if_none_is_given(store: MemoryStore) -> None:
    assert len(collect(store, GRACE_S).removed) == 1


def test_a_dry_run_only_says(store: MemoryStore) -> None:
    before = data_of(store)
    found = collect(store, GRACE_S, dry_run=True, now_s=NOW_S)
    assert len(found.removed) == 1
    assert data_of(store) == before


def test_what_is_not_ours_stays(store: MemoryStore) -> None:
    ours = [".DS_Store", "readme.txt", "0-notes.txt", "x-1.parquet", "00000000.parquet", "²-1.parquet"]
    for name in ours:
        store.put(f"data/{name}", b"mine")
    collect(store, 0, now_s=NOW_S)
    assert {f"data/{name}" for name in ours} <= data_of(store)


def test_retries_are_collected_too(store: MemoryStore) -> None:
    retry = a_plan(2, only={0: [1]})
    child = store.child("retries/0001")
    child.put("plan.json", retry.dump())
    kept, _ = put_chunk(child, retry, 0)
    orphan = put_chunk(child, retry, 0, attempt=Attempt(10, id="orphan"), commit_now=False)[0]
    found = collect(store, GRACE_S, now_s=NOW_S)
    assert f"retries/0001/{orphan.data}" in found.removed
    assert f"retries/0001/{kept.data}" in data_of(store)


def test_what_readers_go_by_stays_though_its_commit_was_overwritten() -> None:
    """A store without conditional writes let a write arrive late, over a newer commit."""
    store = MemoryStore(lambda: 0.0)
    newer, _ = put_chunk(store, a_plan(1), 0)
    finish(store, a_plan(1), [newer])
    late, _ = put_chunk(store, a_plan(1), 0, commit_now=False)
    store.put(late.key, seal(dataclasses.asdict(late)))
    assert collect(store, 0, now_s=NOW_S).removed == []
    assert data_of(store) == {late.data, newer.data}


@pytest.mark.parametrize("key", ["commits/00000000.json", "manifest.json"])
def test_nothing_goes_while_a_record_cannot_be_read(store: MemoryStore, key: str) -> None:
    before = data_of(store)
    store.put(key, b"garbage")
    with pytest.raises(CorruptDataError, match=key):
        collect(store, 0, now_s=NOW_S)
    assert data_of(store) == before


def test_a_commit_that_comes_after_the_listing_keeps_its_data() -> None:
    """The collector lists data, then commits; between the two a chunk is committed."""

    class Between(MemoryStore):
        def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
            found = list(super().list(prefix))
            if prefix == "data/":
                put_chunk(self, PLAN, 1, attempt=Attempt(100, id="sleeper"))
            return iter(found)

    store = Between(lambda: 0.0)
    put_chunk(store, PLAN, 1, attempt=Attempt(100, id="sleeper"), commit_now=False)
    assert collect(store, 0, now_s=NOW_S).removed == []
    assert data_of(store) == {"data/00000001-sleeper.parquet"}


def test_the_figures_cannot_be_changed(store: MemoryStore) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        collect(store, 0).young = 3  # type: ignore[misc]


def test_what_killed_writes_and_probes_left_goes_after_an_hour(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    left = [tmp_path / "data" / ".tmp-1", tmp_path / ".tmp-2", tmp_path / ".probe-3"]
    for path in left:
        path.write_bytes(b"x")
    assert collect(LocalStore(tmp_path), 0).removed == []
    said = collect(LocalStore(tmp_path), 0, dry_run=True, now_s=time.time() + 3700)
    assert len(said.removed) == 3
    assert all(path.exists() for path in left)
    found = collect(LocalStore(tmp_path), 0, now_s=time.time() + 3700)
    assert sorted(found.removed) == [".probe-3", ".tmp-2", "data/.tmp-1"]
    assert not any(path.exists() for path in left)
