"""The manifest: written once, when every chunk has its commit."""

from __future__ import annotations

import dataclasses

import pytest

from raygen import __version__
from raygen.errors import ChunkIntegrityError, CorruptDataError, KeyNotFoundError, UnknownResultError
from raygen.runs.commit import Commit
from raygen.runs.manifest import Manifest, Totals, finish
from raygen.runs.plan import Plan
from raygen.storage import Store
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import FailingStore, a_plan, once, put_chunk

UNKNOWN = UnknownResultError("no answer")


def committed(store: Store, plan: Plan) -> list[Commit]:
    return [put_chunk(store, plan, chunk, "arf")[0] for chunk in plan.todo]


def test_it_lists_the_commits_and_sums_them_up() -> None:
    store, plan = MemoryStore(), a_plan(3)
    commits = committed(store, plan)
    manifest = finish(store, plan, commits[::-1])
    assert manifest.chunks == commits
    assert manifest.rows == {"total": 9, "accepted": 3, "rejected": 3, "failed": 3}
    assert manifest.usage == {"prompt_tokens": 15, "output_tokens": 6}
    assert (manifest.run_id, manifest.plan, manifest.config_hash) == ("run", plan.digest, "c")
    assert manifest.raygen_version == __version__
    assert Manifest.load(store) == manifest
    assert Manifest.load(store).digest == manifest.digest


def test_a_missing_chunk_is_no_finished_run() -> None:
    store, plan = MemoryStore(), a_plan(3)
    commits = committed(store, plan)
    with pytest.raises(ChunkIntegrityError, match="2 commits for 3 chunks"):
        finish(store, plan, commits[:2])
    with pytest.raises(KeyNotFoundError):
        Manifest.load(store)


@pytest.mark.parametrize("change", [{"plan": "other"}, {"rows": 2}])
def test_a_commit_of_other_rows_is_no_finished_run(change: dict[str, object]) -> None:
    store, plan = MemoryStore(), a_plan(2)
    commits = committed(store, plan)
    with pytest.raises(ChunkIntegrityError, match=r"commits/00000001\.json is not of this run"):
        finish(store, plan, [commits[0], dataclasses.replace(commits[1], **change)])


def test_outcomes_that_are_gone_are_no_finished_run() -> None:
    store, plan = MemoryStore(), a_plan(3)
    commits = committed(store, plan)
    store.delete(commits[1].data)
    with pytest.raises(
        ChunkIntegrityError, match=r"outcomes of 1 committed .* remove .* commits/00000001\.json"
    ):
        finish(store, plan, commits)
    with pytest.raises(KeyNotFoundError):
        Manifest.load(store)


def test_the_first_of_two_drivers_wins() -> None:
    store, plan = MemoryStore(), a_plan()
    commits = committed(store, plan)
    first = finish(store, plan, commits)
    assert finish(store, plan, commits) == first


@pytest.mark.parametrize("after", [(), ("put_if_absent",)])
def test_an_unknown_result_is_settled_by_writing_again(after: tuple[str, ...]) -> None:
    store, plan = FailingStore(lambda operation, key: None, after), a_plan()
    commits = committed(store, plan)
    store.fails = once("put_if_absent", UNKNOWN)
    manifest = finish(store, plan, commits)
    assert Manifest.load(store) == manifest


def test_an_endless_silence_is_an_error() -> None:
    store, plan = FailingStore(lambda operation, key: None), a_plan()
    commits = committed(store, plan)
    store.fails = once("put_if_absent", UNKNOWN, 100)
    with pytest.raises(UnknownResultError, match="run again"):
        finish(store, plan, commits)


def test_another_runs_manifest_is_not_taken_for_ours() -> None:
    store, plan = MemoryStore(), a_plan()
    other = a_plan(run_id="other")
    elsewhere = MemoryStore()
    finish(elsewhere, other, committed(elsewhere, other))
    store.put("manifest.json", elsewhere.get("manifest.json"))
    with pytest.raises(ChunkIntegrityError, match="another run's"):
        finish(store, plan, committed(store, plan))


def test_a_changed_manifest_is_not_read() -> None:
    store, plan = MemoryStore(), a_plan()
    finish(store, plan, committed(store, plan))
    store.put("manifest.json", store.get("manifest.json").replace(b'"accepted":1', b'"accepted":2'))
    with pytest.raises(CorruptDataError, match=r"manifest\.json"):
        Manifest.load(store)


def test_totals_of_nothing_are_zero() -> None:
    assert Totals().rows == {"total": 0, "accepted": 0, "rejected": 0, "failed": 0}
    assert Totals().usage == {}
