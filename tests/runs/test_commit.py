"""The commit: each branch of data first, then the object that makes it count."""

from __future__ import annotations

import dataclasses
import hashlib
import time

import pyarrow as pa
import pytest

from raygen.errors import (
    AttemptExpiredError,
    ChunkIntegrityError,
    CorruptDataError,
    KeyNotFoundError,
    StorageError,
    UnknownResultError,
)
from raygen.runs.commit import (
    Attempt,
    committed_chunks,
    digest_of_ids,
    put_commit,
    read_commit,
    read_commits,
    read_data,
)
from raygen.storage.create import WRITE_TRIES
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import FailingStore, a_plan, once, outcomes, put_chunk

PLAN = a_plan()
UNKNOWN = UnknownResultError("no answer")


def test_data_then_commit() -> None:
    store = FailingStore(lambda operation, key: None)
    commit, mine = put_chunk(store, PLAN, 1, "arf")
    assert mine
    assert store.asked == ["put data", "put_if_absent commits"]
    assert commit.counts == {"accepted": 1, "rejected": 1, "failed": 1}
    assert (commit.chunk, commit.rows, commit.plan) == (1, 3, PLAN.digest)
    data = store.get(commit.data)
    assert commit.data == f"data/00000001-{commit.attempt}.parquet"
    assert (commit.size_bytes, commit.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert read_commit(store, 1) == commit
    assert read_data(store, commit).equals(outcomes(1, "arf"))
    assert committed_chunks(store) == {1}


def test_another_commit_stands_and_the_data_stays_as_an_orphan() -> None:
    store = MemoryStore()
    first, _ = put_chunk(store, PLAN, 0)
    standing, mine = put_chunk(store, PLAN, 0, mark="second")
    assert not mine
    assert standing == first
    assert len([key for key in store.objects if key.startswith("data/")]) == 2


def test_a_lost_answer_is_settled_by_reading() -> None:
    store = FailingStore(once("put_if_absent", UNKNOWN), after=("put_if_absent",))
    commit, mine = put_chunk(store, PLAN, 0)
    assert mine
    assert store.asked == ["put data", "put_if_absent commits", "get commits"]
    assert read_commit(store, 0) == commit


def test_a_refusal_of_ones_own_commit_is_success() -> None:
    """The client library sent it twice: the first answer was lost, the second says 412."""

    class Twice(MemoryStore):
        def put_if_absent(self, key: str, data: bytes) -> bool:
            super().put_if_absent(key, data)
            return super().put_if_absent(key, data)

    commit, mine = put_chunk(store := Twice(), PLAN, 0)
    assert mine
    assert read_commit(store, 0) == commit


def test_a_commit_that_did_not_arrive_is_sent_again() -> None:
    store = FailingStore(once("put_if_absent", UNKNOWN, 3))
    commit, mine = put_chunk(store, PLAN, 0)
    assert mine
    assert store.asked.count("put_if_absent commits") == 4
    assert read_commit(store, 0) == commit


def test_a_store_that_does_not_let_read_either_is_asked_again() -> None:
    """The chunk was generated: another question costs less than another chunk."""
    writes, reads = once("put_if_absent", UNKNOWN), once("get", StorageError("no"))
    store = FailingStore(lambda op, key: writes(op, key) or reads(op, key), after=("put_if_absent",))
    commit, mine = put_chunk(store, PLAN, 0)
    assert mine
    assert store.asked.count("put data") == 1
    assert read_commit(store, 0) == commit


def test_data_that_got_no_answer_is_sent_again_under_its_name(slept: list[float]) -> None:
    store = FailingStore(once("put", UNKNOWN, 2), after=("put",))
    commit, mine = put_chunk(store, PLAN, 0)
    assert mine
    assert store.asked.count("put data") == 3
    assert [key for key in store.objects if key.startswith("data/")] == [commit.data]
    assert len(slept) == 2


@pytest.mark.parametrize("operation", ["put", "put_if_absent"])
def test_an_endless_silence_ends_the_attempt_and_deletes_nothing(operation: str) -> None:
    store = FailingStore(once(operation, UNKNOWN, 100), after=(operation,) if operation == "put" else ())
    with pytest.raises(UnknownResultError):
        put_chunk(store, PLAN, 0)
    assert store.asked.count(f"{operation} {'data' if operation == 'put' else 'commits'}") == WRITE_TRIES
    assert committed_chunks(store) == set()
    assert len(store.objects) == 1


def test_a_refused_write_is_not_repeated() -> None:
    store = FailingStore(once("put", StorageError("disk full")))
    with pytest.raises(StorageError, match="disk full"):
        put_chunk(store, PLAN, 0)
    assert store.asked == ["put data"]


def test_an_attempt_past_its_limit_writes_nothing() -> None:
    store = FailingStore(lambda operation, key: None)
    with pytest.raises(AttemptExpiredError, match=r"execution\.attempt_limit_s allows 100"):
        put_chunk(store, PLAN, 0, attempt=Attempt(100.0, time.time() - 101))
    assert store.asked == []


@pytest.mark.parametrize("operation", ["put", "put_if_absent"])
def test_an_attempt_ends_itself_between_two_tries(operation: str) -> None:
    attempt = Attempt(100.0, time.time())

    def slow(asked: str, key: str) -> StorageError | None:
        if asked != operation:
            return None
        attempt.started_s -= 101
        return UNKNOWN

    store = FailingStore(slow)
    with pytest.raises(AttemptExpiredError):
        put_chunk(store, PLAN, 0, attempt=attempt)
    assert sum(each.startswith(f"{operation} ") for each in store.asked) == 1


@pytest.mark.parametrize(
    "change", [{"rows": 4}, {"ids": "other"}, {"ids": digest_of_ids(pa.array(["r0-0", "r0-2", "r0-1"]))}]
)
def test_other_rows_than_were_read_are_not_committed(change: dict[str, object]) -> None:
    store = FailingStore(lambda operation, key: None)
    with pytest.raises(ChunkIntegrityError, match="chunk 0: 3 outcomes"):
        put_chunk(store, PLAN, 0, **change)
    assert store.asked == []


def test_a_commit_of_another_run_is_an_error() -> None:
    """What a worker of a run that was removed writes into the run that took its place."""
    store = MemoryStore()
    put_chunk(store, a_plan(run_id="removed"), 0)
    with pytest.raises(ChunkIntegrityError, match=r"commits/00000000\.json is another run's; remove it"):
        put_chunk(store, PLAN, 0)


def test_a_corrupt_commit_is_not_taken_for_anything() -> None:
    store = MemoryStore()
    store.put("commits/00000000.json", b"{}")
    with pytest.raises(CorruptDataError):
        put_chunk(store, PLAN, 0)


def test_a_single_committer_commits_later_and_has_no_limit() -> None:
    store = MemoryStore()
    commit, mine = put_chunk(store, PLAN, 0, commit_now=False)
    assert mine
    assert committed_chunks(store) == set()
    assert put_commit(store, commit) == (commit, True)


def test_data_is_checked_as_it_is_read() -> None:
    store = MemoryStore()
    commit, _ = put_chunk(store, PLAN, 0)
    data = store.get(commit.data)
    for changed in (data[:-1], data + b" ", b"", bytes([data[0] ^ 1]) + data[1:]):
        store.put(commit.data, changed)
        with pytest.raises(CorruptDataError, match=commit.data):
            read_data(store, commit)
    store.delete(commit.data)
    with pytest.raises(KeyNotFoundError):
        read_data(store, commit)


def test_data_that_came_wrong_once_is_read_again() -> None:
    class Noisy(MemoryStore):
        reads = 0

        def get(self, key: str) -> bytes:
            self.reads += 1
            return super().get(key)[: -1 if self.reads == 1 else None]

    store = Noisy()
    commit, _ = put_chunk(store, PLAN, 0)
    assert read_data(store, commit).num_rows == 3


def test_commits_are_read_in_order_and_a_corrupt_one_is_named() -> None:
    store = MemoryStore()
    commits = [put_chunk(store, PLAN, chunk)[0] for chunk in (2, 0, 1)]
    assert list(read_commits(store, [0, 1, 2])) == sorted(commits, key=lambda each: each.chunk)
    store.put("commits/00000001.json", store.get("commits/00000001.json").replace(b'"rows":3', b'"rows":4'))
    with pytest.raises(CorruptDataError, match=r"commits/00000001\.json"):
        list(read_commits(store, [0, 1, 2]))


def test_only_commits_count_as_commits() -> None:
    store = MemoryStore()
    put_chunk(store, PLAN, 3)
    store.put("commits/readme.json", b"")
    store.put("commits-old/00000001.json", b"")
    assert committed_chunks(store) == {3}


def test_the_digest_of_ids_is_of_the_ids_and_their_order() -> None:
    ids = ["a", "bc", "", "ä"]
    whole = digest_of_ids(pa.array(ids))
    assert whole == digest_of_ids(pa.chunked_array([ids[:1], ids[1:]]))
    assert whole == digest_of_ids(pa.array(["before", *ids, "after"]).slice(1, 4))
    assert whole == digest_of_ids(pa.array(ids, pa.large_string()))
    others = [["a", "b", "c", "ä"], ["ab", "c", "", "ä"], ids[::-1], ids[:3], [], [*ids[:3], None]]
    assert len({whole, *(digest_of_ids(pa.array(each, pa.string())) for each in others)}) == 1 + len(others)


def test_commits_cannot_be_changed() -> None:
    commit, _ = put_chunk(MemoryStore(), PLAN, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        commit.rows = 4  # type: ignore[misc]
