"""The view of a finished run: by the manifest, checked against its digests, never by a listing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

import raygen
from raygen.config.source import StorageOptions
from raygen.errors import CorruptDataError, KeyNotFoundError, UserError
from raygen.runs.manifest import finish
from raygen.runs.outcome import outcome_schema
from raygen.runs.plan import pin
from raygen.runs.retries import read_merged
from raygen.runs.view import RunView
from raygen.storage import Store, open_store
from tests.exactly_once.memory_store import MemoryStore
from tests.fakes.fault_s3 import FaultS3
from tests.runs.made import a_plan, outcomes, put_chunk, put_media

PLAN = a_plan(3)


@dataclasses.dataclass
class Place:
    uri: str
    storage: StorageOptions

    def store(self) -> Store:
        return open_store(self.uri, self.storage)

    def view(self) -> RunView:
        return raygen.open_run(self.uri, self.storage)


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "directory":
        yield Place(str(tmp_path / "run"), StorageOptions())
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with FaultS3() as server:
        yield Place("s3://bucket/run", StorageOptions(endpoint_url=server.endpoint_url, region="us-east-1"))


def fill(store: Store) -> None:
    """A finished run of three chunks with a retry of the second, orphans beside both."""
    pin(store, PLAN)
    commits = [put_chunk(store, PLAN, chunk, each)[0] for chunk, each in enumerate(["aaa", "afa", "rra"])]
    put_chunk(store, PLAN, 0, mark="orphan")
    finish(store, PLAN, commits)
    child, retry = store.child("retries/0001"), a_plan(3, run_id="retry", only={1: [1]})
    pin(child, retry)
    finish(child, retry, [put_chunk(child, retry, 1, mark="mended")[0]])
    put_chunk(child, retry, 1, mark="orphan")


EXPECTED = pa.concat_tables([outcomes(0), outcomes(1, "aaa", "mended"), outcomes(2, "rra")])


def test_all_outcomes_in_the_order_of_the_input(place: Place) -> None:
    fill(place.store())
    view = place.view()
    assert view.to_arrow().equals(EXPECTED)
    assert pa.concat_tables(view.tables()).equals(EXPECTED)
    assert view.counts == {"total": 9, "accepted": 7, "rejected": 2, "failed": 0}
    assert view.schema.equals(outcome_schema({}))
    assert (view.uri, view.plan, view.manifest.run_id) == (place.uri, PLAN, "run")


def test_the_dataset_holds_the_same(place: Place) -> None:
    fill(place.store())
    dataset = place.view().dataset()
    assert dataset.to_table().sort_by("row_id").equals(EXPECTED)
    rejected = dataset.to_table(["row_id"], filter=pads.field("status") == "rejected")
    assert rejected.to_pydict() == {"row_id": ["r2-0", "r2-1"]}


def test_data_that_does_not_match_its_digest_is_not_read(place: Place) -> None:
    fill(place.store())
    where, commit = place.view().chunks[1]
    data = where.get(commit.data)
    where.put(commit.data, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptDataError, match=f"retries/0001/{commit.data}"):
        place.view().to_arrow()
    where.delete(commit.data)
    with pytest.raises(KeyNotFoundError, match=commit.data):
        place.view().to_arrow()


def test_a_run_without_rows_has_columns(tmp_path: Path) -> None:
    store, empty = open_store(str(tmp_path)), a_plan(0)
    pin(store, empty)
    finish(store, empty, [])
    view = raygen.open_run(str(tmp_path))
    assert view.to_arrow().equals(outcome_schema({}).empty_table())
    assert view.dataset().to_table().num_rows == 0


def test_no_run_and_an_unfinished_run_are_told_apart(place: Place) -> None:
    with pytest.raises(UserError, match=f"{place.uri} holds no run"):
        place.view()
    store = place.store()
    pin(store, PLAN)
    put_chunk(store, PLAN, 0)
    with pytest.raises(UserError, match="is not finished; run the same command again to resume it"):
        place.view()


def test_rows_come_as_dicts_and_media_when_they_are_asked_for() -> None:
    store, plan = MemoryStore(), a_plan(2)
    pin(store, plan)
    rows = [[[b"a" * 100], [b"b" * 200], []], [[b"c" * 300], [], []]]
    finish(store, plan, [put_media(store, each, plan=plan, chunk=n)[0] for n, each in enumerate(rows)])
    view = RunView(store, read_merged(store))
    samples = [sample for row in view.rows() for sample in row["samples"]]
    assert [sample["media"] for sample in samples] == [None] * 3
    assert [view.media(sample) for sample in samples] == [b"a" * 100, b"b" * 200, b"c" * 300]
    with pytest.raises(CorruptDataError, match=r"no chunk of it has an archive 'data/00000007-x-0\.tar'"):
        view.media({**samples[0], "shard": "data/00000007-x-0.tar"})
