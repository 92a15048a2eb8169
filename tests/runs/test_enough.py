"""Enough: a run that wants a number of accepted rows may end before its chunks do; the manifest says which are in."""

from __future__ import annotations

import dataclasses

import pytest

from raygen.errors import ChunkIntegrityError
from raygen.runs.collect import collect
from raygen.runs.commit import Commit, committed_chunks, read_commits
from raygen.runs.enough import Acceptance, Target, acceptance, goal_of, rows_left
from raygen.runs.manifest import finish
from raygen.runs.plan import Plan, pin
from raygen.runs.retries import plan_retry, read_merged
from raygen.runs.status import read_status
from tests.exactly_once.memory_store import MemoryStore
from tests.fakes.echo_jobs import echo_job
from tests.runs.made import a_plan, put_chunk

PLAN = a_plan(4, identity={"accept": {"target": 4, "max_attempts_per_row": 1}})  # of twelve rows


def begun(*statuses: str, plan: Plan = PLAN) -> tuple[MemoryStore, list[Commit]]:
    """A run whose first chunks are committed, with these outcomes."""
    store = MemoryStore()
    pin(store, plan)
    return store, [put_chunk(store, plan, chunk, each)[0] for chunk, each in enumerate(statuses)]


def test_a_run_may_end_once_it_has_enough() -> None:
    store, commits = begun("aar", "afa")
    manifest = finish(store, PLAN, commits)
    assert manifest.chunks == commits
    assert manifest.rows == {"total": 6, "accepted": 4, "rejected": 1, "failed": 1}
    assert read_merged(store).rows == manifest.rows


@pytest.mark.parametrize("plan", [PLAN, a_plan(4)], ids=["too few", "no number is wanted"])
def test_no_other_run_may(plan: Plan) -> None:
    store, commits = begun("aar", "afr" if plan is PLAN else "aaa", plan=plan)
    with pytest.raises(ChunkIntegrityError, match="2 commits for 4 chunks; the run is not finished"):
        finish(store, plan, commits)


def test_a_chunk_of_nowhere_is_not_taken_in() -> None:
    store, commits = begun("aaa", "aaa")
    with pytest.raises(ChunkIntegrityError, match="not finished"):
        finish(store, PLAN, [commits[0], dataclasses.replace(commits[1], chunk=9)])


def test_a_retry_does_all_its_rows() -> None:
    store, commits = begun("aaf", "aaf")
    finish(store, PLAN, commits)
    found = plan_retry(store, echo_job("in", "out", accept={"target": 3}).record(), {})
    assert found is not None
    child, plan = found
    assert (plan.todo, PLAN.target, plan.target) == ([0, 1], 4, None)
    with pytest.raises(ChunkIntegrityError):
        finish(child, plan, [put_chunk(child, plan, 0)[0]])


def test_two_drivers_agree_on_the_chunks_that_one_of_them_saw() -> None:
    """The second commits another chunk between the first one's listing and its manifest: that chunk came too late."""
    store, _ = begun("aaa", "aaa")
    first = list(read_commits(store, sorted(committed_chunks(store))))
    put_chunk(store, PLAN, 2)
    second = list(read_commits(store, sorted(committed_chunks(store))))
    assert (len(first), len(second)) == (2, 3)
    mine = finish(store, PLAN, first)
    assert finish(store, PLAN, second) == mine
    assert [commit.chunk for commit in mine.chunks] == [0, 1]
    assert read_merged(store).rows["total"] == 6
    status = read_status(store)
    assert (status.rows["total"], status.chunks) == (6, {"total": 4, "committed": 2})
    assert status.accept == {"wanted": 4, "accepted": 6, "rows_not_needed": 6}


def test_data_that_no_attempt_can_commit_any_more_is_collected() -> None:
    store, commits = begun("aaa", "aaa")
    put_chunk(store, PLAN, 2, commit_now=False)
    late, _ = put_chunk(store, PLAN, 3)
    data = {key for key in store.objects if key.startswith("data/")}
    now_s = store.clock()
    assert collect(store, 10, now_s=now_s + 1000).pending == 1
    finish(store, PLAN, commits)
    waiting = collect(
        store, 10, now_s=now_s + PLAN.attempt_limit_s
    )  # an attempt may still be about to commit
    assert (waiting.removed, waiting.young, waiting.pending) == ([], 1, 0)
    assert len(collect(store, 10, now_s=now_s + PLAN.attempt_limit_s + 20).removed) == 1
    left = {key for key in store.objects if key.startswith("data/")}
    assert left == {late.data, *(commit.data for commit in commits)} < data


def test_accepted_rows_count_once() -> None:
    _, commits = begun("aar", "afr")
    target = Target(4)
    for _ in range(2):
        target.add(commits)
    assert (target.accepted, target.reached) == (3, False)
    target.add([dataclasses.replace(commits[0], chunk=2)])
    assert (target.accepted, target.reached) == (5, True)
    none = goal_of(a_plan())
    none.add(commits)
    assert not none.reached


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (Acceptance(5000, 5003, 12000), "enough: 5,003 accepted of 5,000 wanted, 12,000 rows not needed"),
        (Acceptance(5000, 5000, 0), "enough: 5,000 accepted of 5,000 wanted"),
        (Acceptance(5000, 4321, 0), "not enough: 4,321 accepted of 5,000 wanted"),
        (Acceptance(5000, 12), "so far 12 accepted of 5,000 wanted"),
    ],
)
def test_it_is_said_how_many_were_accepted(given: Acceptance, line: str) -> None:
    assert given.line == line


def rows(accepted: int, rejected: int) -> dict[str, int]:
    return {"total": accepted + rejected, "accepted": accepted, "rejected": rejected, "failed": 0}


def test_what_is_left_is_estimated_by_the_share_that_is_accepted() -> None:
    assert acceptance(a_plan(), rows(1, 1), True) is None
    assert rows_left(a_plan(4), rows(3, 0), 12) == 9
    assert rows_left(PLAN, rows(0, 3), 12) == 9  # nothing to go by yet
    assert rows_left(PLAN, rows(1, 1), 12) == 6
    assert rows_left(PLAN, rows(1, 8), 12) == 3  # no more than there are
    assert rows_left(PLAN, rows(4, 4), 12) == 0
