"""The ledger: what is done, known, enough and left, with other drivers at work and a store that may be away."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from raygen.errors import ChunkIntegrityError, KeyNotFoundError, StorageError
from raygen.runs.commit import Commit
from raygen.runs.ledger import Ledger
from raygen.runs.manifest import finish
from raygen.runs.plan import Plan
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import FailingStore, a_plan, once, put_chunk

PLAN = a_plan(4)
WANTED = a_plan(4, identity={"accept": {"target": 4, "max_attempts_per_row": 1}})  # of twelve rows
RETRY = a_plan(4, only={1: [0], 3: [2]}, parent="p")
AWAY = StorageError("HTTP 503")


def store_with(plan: Plan, *chunks: int) -> MemoryStore:
    store = MemoryStore()
    for chunk in chunks:
        put_chunk(store, plan, chunk)
    return store


def read(ledger: Ledger) -> list[int]:
    """Read the commits of earlier sessions; return the chunks that were told, once all are."""
    told: list[int] = []
    ledger.read_earlier(lambda commit: told.append(commit.chunk))
    ledger.settle()
    return told


def test_a_new_run_has_nothing_done() -> None:
    ledger = Ledger(MemoryStore(), PLAN)
    assert (ledger.done, ledger.known) == (set(), {})
    assert not ledger.complete
    assert not ledger.over


def test_a_run_without_chunks_is_over() -> None:
    ledger = Ledger(MemoryStore(), a_plan(0))
    assert ledger.complete
    assert ledger.commits() == {}


def test_what_earlier_sessions_committed_is_done_and_read() -> None:
    ledger = Ledger(store_with(PLAN, 0, 2), PLAN)
    assert ledger.done == {0, 2}
    assert read(ledger) == [0, 2]
    assert sorted(ledger.known) == [0, 2]


def test_a_retry_is_about_its_own_chunks() -> None:
    ledger = Ledger(store_with(RETRY, 0, 1), RETRY)
    assert ledger.done == {1}
    commit, _ = put_chunk(ledger.store, RETRY, 3)
    ledger.take(3, commit)
    assert ledger.complete


def test_a_commit_that_is_taken_is_done_and_known() -> None:
    ledger = Ledger(MemoryStore(), PLAN)
    commit, _ = put_chunk(ledger.store, PLAN, 1)
    assert ledger.take(1, commit) == commit
    assert (ledger.done, ledger.known) == ({1}, {1: commit})


def test_another_driver_s_commit_is_not_read_while_all_rows_are_wanted() -> None:
    store = FailingStore(once("get", AWAY))
    put_chunk(store, PLAN, 1)
    ledger = Ledger(store, PLAN)
    assert ledger.take(1, None) is None
    assert (ledger.done, ledger.known) == ({1}, {})


def test_another_driver_s_commit_counts_towards_a_number_of_rows() -> None:
    ledger = Ledger(MemoryStore(), WANTED)
    commit, _ = put_chunk(ledger.store, WANTED, 1)
    assert ledger.take(1, None) == commit
    assert ledger.goal.line == "3 accepted of 4 wanted"


def test_a_chunk_that_another_driver_left_out_is_not_noted() -> None:
    ledger = Ledger(MemoryStore(), WANTED)
    with pytest.raises(KeyNotFoundError):
        ledger.take(1, None)
    assert (ledger.done, ledger.known) == (set(), {})


def test_a_look_finds_what_another_driver_did() -> None:
    ledger = Ledger(MemoryStore(), PLAN)
    put_chunk(ledger.store, PLAN, 3)
    ledger.look()
    assert (ledger.done, ledger.known) == ({3}, {})


def test_a_look_reads_what_counts() -> None:
    ledger = Ledger(MemoryStore(), WANTED)
    for chunk in (1, 3):
        put_chunk(ledger.store, WANTED, chunk)
    ledger.look()
    assert sorted(ledger.known) == [1, 3]
    assert ledger.goal.reached


def test_enough_is_over_before_all_is_done() -> None:
    ledger = Ledger(MemoryStore(), WANTED)
    for chunk in (0, 2):
        ledger.take(chunk, put_chunk(ledger.store, WANTED, chunk, "aar")[0])
    assert ledger.goal.line == "4 accepted of 4 wanted"
    assert ledger.over
    assert not ledger.complete
    manifest = finish(ledger.store, WANTED, ledger.commits().values())
    assert [commit.chunk for commit in manifest.chunks] == [0, 2]


def test_duplicates_are_not_enough() -> None:
    def one_duplicate(commits: Iterable[Commit]) -> int:
        return len(list(commits)) - 1

    ledger = Ledger(MemoryStore(), WANTED, one_duplicate)
    for chunk, over in ((0, False), (1, True)):
        ledger.take(chunk, put_chunk(ledger.store, WANTED, chunk)[0])
        assert ledger.over is over
    assert ledger.goal.line == "5 accepted of 4 wanted"


def test_earlier_commits_are_counted_before_anything_is_begun() -> None:
    ledger = Ledger(store_with(WANTED, 0, 1), WANTED)
    assert not ledger.over  # nothing has been read
    ledger.read_earlier()
    assert ledger.over


def test_a_manifest_of_another_driver_decides_where_rows_are_counted() -> None:
    store = store_with(WANTED, 0, 1)
    manifest = finish(store, WANTED, [put_chunk(store, WANTED, chunk)[0] for chunk in (0, 1)])
    ledger = Ledger(store, WANTED)
    ledger.read_earlier()
    put_chunk(store, WANTED, 2)
    assert ledger.settle() == manifest


def test_without_a_manifest_the_driver_decides_itself() -> None:
    ledger = Ledger(store_with(WANTED, 0), WANTED)
    ledger.read_earlier()
    put_chunk(ledger.store, WANTED, 2)
    assert ledger.settle() is None
    assert ledger.done == {0, 2}


def test_what_could_not_be_read_at_first_is_read_at_the_end() -> None:
    store = FailingStore(once("get", AWAY))
    for chunk in range(4):
        put_chunk(store, PLAN, chunk)
    ledger = Ledger(store, PLAN)
    assert read(ledger) == []
    assert sorted(ledger.commits()) == [0, 1, 2, 3]


def test_a_store_that_is_away_is_told_and_nothing_is_forgotten() -> None:
    store = FailingStore(once("get", AWAY))
    ledger = Ledger(store, WANTED)
    put_chunk(store, WANTED, 1)
    with pytest.raises(StorageError, match="HTTP 503"):
        ledger.look()
    assert not ledger.goal.reached
    ledger.look()
    assert (ledger.done, ledger.goal.line) == ({1}, "3 accepted of 4 wanted")


def test_commits_that_cannot_be_seen_from_here_end_the_run() -> None:
    ledger = Ledger(store_with(PLAN, 0), PLAN)
    ledger.take(1, put_chunk(MemoryStore(), PLAN, 1)[0])
    with pytest.raises(
        StorageError, match=r"1 chunk was committed on other nodes .* path that all nodes share"
    ):
        ledger.commits()


def test_too_few_commits_finish_no_run() -> None:
    ledger = Ledger(store_with(PLAN, 0, 1, 2), PLAN)
    with pytest.raises(ChunkIntegrityError, match="3 commits for 4 chunks"):
        finish(ledger.store, PLAN, ledger.commits().values())
