"""Reuse: what another run has of these rows, found before work; and where its outcomes of a chunk are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from raygen.config.source import Source, StorageOptions
from raygen.data.sources import open_source
from raygen.errors import ConfigError, CorruptDataError, UserError
from raygen.runs import overlap
from raygen.runs.commit import encode_data, read_commit
from raygen.runs.manifest import finish
from raygen.runs.plan import Plan, pin
from raygen.runs.reuse import Reuse, find_reuse
from raygen.storage import Store, open_store
from tests.runs.made import a_plan, outcomes, put_chunk

IDS = [
    "r0-0",
    "r0-1",
    "r0-2",
    "r1-0",
    "r1-1",
    "r1-2",
]  # of the rows that `put_chunk` commits in chunks 0 and 1


def rows(folder: Path, ids: list[str], chunk_rows: int = 3, name: str = "in") -> tuple[Source, Plan]:
    """Write a source of rows with these ids; return it and the plan of a run of it."""
    path = folder / f"{name}.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"id": each}) + b"\n" for each in ids))
    source = Source.model_validate({"format": "jsonl", "uri": str(path), "key": "id"})
    found = open_source(source).plan(chunk_rows)
    said: dict[str, Any] = {"format": "jsonl", "key": "id", "max_rows": None}
    identity = {"source": said, "sink": {"chunk_rows": chunk_rows}}
    return source, replace(a_plan(identity=identity), inputs=found.inputs, chunks=found.ranges)


@pytest.fixture
def old(tmp_path: Path) -> Store:
    """A run of IDS, both chunks of which are committed."""
    store = open_store(str(tmp_path / "old"))
    _, plan = rows(tmp_path, IDS)
    pin(store, plan)
    for chunk in range(2):
        put_chunk(store, plan, chunk)
    return store


@pytest.fixture
def new(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "new"))


def test_the_same_rows_in_the_same_chunks_need_no_search(tmp_path: Path, old: Store, new: Store) -> None:
    source, plan = rows(tmp_path, IDS)
    assert find_reuse(old.uri, plan, new, source) == (Reuse(old.uri, source.storage), None)


def test_rows_with_keys_are_the_same_under_another_file_name(tmp_path: Path, old: Store, new: Store) -> None:
    source, plan = rows(tmp_path, IDS, name="renamed")
    assert find_reuse(old.uri, plan, new, source)[1] is None


def test_rows_in_another_order_are_looked_for(tmp_path: Path, old: Store, new: Store) -> None:
    source, plan = rows(tmp_path, [*IDS[4:], "new", *IDS[:1]], chunk_rows=2)
    _, found = find_reuse(old.uri, plan, new, source)
    assert found is not None
    assert (found.rows, found.of(0), found.of(1), found.unread) == (3, (1,), (0,), [])


def test_a_run_does_not_reuse_itself(tmp_path: Path, old: Store) -> None:
    source, plan = rows(tmp_path, IDS)
    with pytest.raises(ConfigError, match="is the output of this very run; choose another --output"):
        find_reuse(old.uri, plan, old, source)


def test_a_place_without_a_run_is_a_users_error(tmp_path: Path, new: Store) -> None:
    source, plan = rows(tmp_path, IDS)
    with pytest.raises(UserError, match=r"no run here \(no plan\.json\).*to go on without one: --reuse ''"):
        find_reuse(str(tmp_path / "nowhere"), plan, new, source)


def test_a_run_of_other_rows_is_refused_and_what_differs_is_named(
    tmp_path: Path, old: Store, new: Store
) -> None:
    source, plan = rows(tmp_path, ["x", "y"], chunk_rows=2, name="other")
    with pytest.raises(ConfigError, match="no outcome of any of these 2 rows") as caught:
        find_reuse(old.uri, plan, new, source)
    message = str(caught.value)
    assert "sink.chunk_rows was 3, now 2" in message
    assert f"input {tmp_path}/in.jsonl is gone" in message
    assert f"input {tmp_path}/other.jsonl is new" in message
    assert message.endswith("Give a run of these rows, or leave --reuse out")


def test_a_changed_input_is_named(tmp_path: Path, old: Store, new: Store) -> None:
    source, plan = rows(tmp_path, ["x"])
    with pytest.raises(ConfigError, match=rf"input {tmp_path}/in\.jsonl has changed"):
        find_reuse(old.uri, plan, new, source)


def test_chunks_that_cannot_be_read_are_told_and_the_others_are_used(
    tmp_path: Path, old: Store, new: Store
) -> None:
    source, plan = rows(tmp_path, IDS[::-1])
    old.put(read_commit(old, 0).data, encode_data(outcomes(7)))
    _, found = find_reuse(old.uri, plan, new, source)
    assert found is not None
    assert (found.rows, found.of(0), found.of(1)) == (3, (1,), ())
    (told,) = found.unread
    assert told.startswith("chunk 0: data/00000000-")
    assert told.endswith("has other row ids than were committed")


@pytest.mark.parametrize(
    ("data", "told"), [(b"no Parquet", "row ids cannot be read"), (None, "no such file")]
)
def test_damaged_and_missing_tables_are_told(
    tmp_path: Path, old: Store, new: Store, data: bytes | None, told: str
) -> None:
    source, plan = rows(tmp_path, IDS[::-1])
    key = read_commit(old, 1).data
    old.delete(key) if data is None else old.put(key, data)
    _, found = find_reuse(old.uri, plan, new, source)
    assert found is not None
    assert (found.rows, len(found.unread)) == (3, 1)
    assert found.unread[0].startswith("chunk 1: ")
    assert told in found.unread[0]


def test_an_order_beyond_reason_is_refused_with_the_run(
    tmp_path: Path, old: Store, new: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "MOST_PLACES", 1)
    source, plan = rows(tmp_path, IDS[::-1])
    with pytest.raises(ConfigError, match=r"does not fit: .*an order so different.*leave --reuse out"):
        find_reuse(old.uri, plan, new, source)


def test_the_newest_finished_retry_has_the_word(tmp_path: Path, old: Store, new: Store) -> None:
    source, plan = rows(tmp_path, IDS)
    for number, done in ((1, True), (2, True), (3, False)):
        child = old.child(f"retries/{number:04d}")
        retry = a_plan(run_id=f"retry{number}", only={0: [0]})
        pin(child, retry)
        commit, _ = put_chunk(child, retry, 0, mark=f"#{number}")
        if done:
            finish(child, retry, [commit])
    reuse, _ = find_reuse(old.uri, plan, new, source)
    assert reuse.retries == ("retries/0002/", "retries/0001/")  # the third is not finished
    store, commit = reuse.place(0) or pytest.fail("nothing")
    assert store.uri == f"{old.uri}/retries/0002"
    assert commit == read_commit(store, 0)
    store, commit = reuse.place(1) or pytest.fail("nothing")
    assert (store.uri, commit) == (old.uri, read_commit(old, 1))
    assert reuse.place(2) is None


def test_a_damaged_commit_is_not_passed_over(old: Store) -> None:
    old.put("commits/00000000.json", b"{}")
    with pytest.raises(CorruptDataError):
        Reuse(old.uri, StorageOptions()).place(0)


def test_the_same_rows_in_other_chunks_are_looked_for(tmp_path: Path, old: Store, new: Store) -> None:
    source, plan = rows(tmp_path, IDS)
    first, last = plan.chunks
    plan = replace(plan, chunks=[replace(first, stop=last.stop, rows=6)])
    _, found = find_reuse(old.uri, plan, new, source)
    assert found is not None
    assert (found.rows, found.of(0)) == (6, (0, 1))
