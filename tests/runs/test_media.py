"""Media of commits: read from wherever they lie, never other bytes than were committed; and the check that names faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from raygen.config.sink import Sink
from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.runs.commit import Commit, StoredObject, read_commit, read_data
from raygen.runs.media import READ_TRIES, carried, home_of, media_problems, object_of, read_media, with_media
from raygen.runs.outcome import SAMPLE
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import a_medium, outcomes, put_media

INSIDE = Sink(media="inside")
ROWS = [[b"a" * 5000, b"b" * 3000], [b"c" * 7000], []]
BIG = 40_000  # bytes: two of them need two archives


def flipped(data: bytes) -> bytes:
    """Return bytes of which one bit is another."""
    return bytes([data[0] ^ 1]) + data[1:]


class FlippingStore(MemoryStore):
    """Hands out the first `times` ranges with a flipped bit."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.asked = times, 0

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        self.asked += 1
        data = super().get_range(key, start, stop)
        return flipped(data) if self.asked <= self.times else data


def samples_of(table: pa.Table) -> list[dict[str, Any]]:
    return [sample for row in table.column("samples").to_pylist() for sample in row]


def media_of(table: pa.Table) -> list[list[bytes]]:
    return [[sample["media"] for sample in row] for row in table.column("samples").to_pylist()]


def altered(table: pa.Table, number: int, **changes: Any) -> pa.Table:
    """Return outcomes that say something else of one sample, by its place among all."""
    rows = table.column("samples").to_pylist()
    [sample for row in rows for sample in row][number].update(changes)
    place = table.schema.get_field_index("samples")
    return table.set_column(place, table.schema.field(place), pa.array(rows, pa.list_(SAMPLE)))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("sink", [INSIDE, None], ids=["inside", "beside"])
def test_media_are_read_as_they_were_taken(store: MemoryStore, sink: Sink | None) -> None:
    commit, _ = put_media(store, ROWS, *([] if sink is None else [sink]))
    assert bool(commit.objects) == (sink is None)
    read = read_commit(store, 0)
    assert read == commit
    found = [read_media(store, read, sample) for sample in samples_of(read_data(store, read))]
    assert found == [data for row in ROWS for data in row]


def test_a_text_has_no_bytes_and_an_earlier_schema_no_digest(store: MemoryStore) -> None:
    commit, _ = put_media(store, ROWS)
    assert read_media(store, commit, {"text": "a text", "media": None, "digest": None}) is None
    assert read_media(store, commit, {"media": b"old"}) == b"old"


def test_a_flip_in_a_table_is_noticed(store: MemoryStore) -> None:
    commit, table = put_media(store, ROWS, INSIDE)
    sample = samples_of(table)[1]
    with pytest.raises(CorruptDataError, match=r"parquet: a sample: 3,000 bytes .* SHA-256 of sample 1"):
        read_media(store, commit, {**sample, "media": flipped(sample["media"])})


def test_a_flip_on_the_way_is_asked_for_again() -> None:
    store = FlippingStore(READ_TRIES - 1)
    commit, table = put_media(store, ROWS)
    assert read_media(store, commit, samples_of(table)[0]) == ROWS[0][0]
    assert store.asked == READ_TRIES


def test_a_flip_that_stays_is_an_error_with_its_place() -> None:
    store = FlippingStore(100)
    commit, table = put_media(store, ROWS)
    with pytest.raises(CorruptDataError, match=rf"{commit.objects[0].key}: 7,000 bytes that do not match"):
        read_media(store, commit, samples_of(table)[2])
    assert store.asked == READ_TRIES


def test_an_archive_that_is_gone_is_a_missing_key(store: MemoryStore) -> None:
    commit, table = put_media(store, ROWS)
    store.delete(commit.objects[0].key)
    with pytest.raises(KeyNotFoundError, match=commit.objects[0].key):
        read_media(store, commit, samples_of(table)[0])
    with pytest.raises(KeyNotFoundError):
        list(with_media(store, commit, table, 10**6))


def test_an_archive_that_no_commit_names_is_not_read(store: MemoryStore) -> None:
    commit, table = put_media(store, ROWS)
    (held,) = commit.objects
    assert object_of(store, commit, held.key) == (store, held)
    with pytest.raises(CorruptDataError, match=r"commits/00000000\.json names no object"):
        read_media(store, replace(commit, objects=()), samples_of(table)[0])


def test_a_retry_refers_to_what_the_runs_before_it_stored(store: MemoryStore) -> None:
    first, retry, second = store, store.child("retries/0001"), store.child("retries/0002")
    told, table = put_media(first, ROWS)
    retold, retable = put_media(retry, [[b"mended"]])
    objects = (*carried(told.objects, ""), *carried(retold.objects, "retries/0001/"))
    assert [held.run for held in objects] == ["", "retries/0001/"]
    assert carried(objects, "retries/0009/") == objects  # whose they are does not change
    commit = replace(retold, objects=objects)
    assert read_media(second, commit, samples_of(table)[2]) == ROWS[1][0]
    assert read_media(second, commit, samples_of(retable)[0]) == b"mended"
    assert commit.keys == [commit.data]  # nothing of them is its own


def test_an_object_without_a_run_is_at_home_where_its_commit_is(store: MemoryStore) -> None:
    child = store.child("retries/0001")
    held = StoredObject("data/x.tar", 1, "s", "shard")
    assert home_of(child, held) is child
    assert home_of(child, replace(held, run="")).uri == store.uri
    assert home_of(child, replace(held, run="retries/0002/")).uri == f"{store.uri}/retries/0002"


def test_pieces_hold_whole_rows_and_bounded_media(store: MemoryStore) -> None:
    rows = [[b"a" * 400], [b"b" * 600], [b"c" * 10], [b"d" * 900, b"e" * 900], [], [b"f" * 1000], [b"g"]]
    commit, table = put_media(store, rows)
    pieces = list(with_media(store, commit, table, 1000))
    assert [piece.num_rows for piece in pieces] == [2, 1, 1, 2, 1]
    assert [row for piece in pieces for row in media_of(piece)] == rows
    whole = pa.concat_tables(pieces)
    assert whole.schema.equals(table.schema)
    assert all(sample["shard"] is None and sample["offset"] is None for sample in samples_of(whole))
    assert whole.drop_columns("samples").equals(table.drop_columns("samples"))


def test_media_of_discarded_samples_count_and_are_read_too(store: MemoryStore) -> None:
    commit, table = put_media(store, [[b"a" * 600], [b"b" * 600]])
    both = table.column_names.index("samples"), table.column_names.index("discarded")
    swapped = table.set_column(both[1], table.schema.field(both[1]), table.column(both[0]))
    empty = pa.array([[], []], pa.list_(SAMPLE))
    swapped = swapped.set_column(both[0], table.schema.field(both[0]), empty)
    pieces = list(with_media(store, commit, swapped, 1000))
    assert [[s["media"] for s in piece.column("discarded").to_pylist()[0]] for piece in pieces] == [
        [b"a" * 600],
        [b"b" * 600],
    ]


def test_a_table_with_all_of_it_inside_is_handed_on_as_it_is(store: MemoryStore) -> None:
    commit, table = put_media(store, ROWS, INSIDE)
    (piece,) = with_media(store, commit, table, 1)
    assert piece is table
    assert list(with_media(store, commit, table.slice(0, 0), 1)) == []


def test_some_rows_of_a_chunk_can_be_asked_for(store: MemoryStore) -> None:
    commit, table = put_media(store, ROWS)
    assert [media_of(piece) for piece in with_media(store, commit, table.slice(1, 1), 10**6)] == [[ROWS[1]]]


Break = Callable[[MemoryStore, Commit, pa.Table], pa.Table]


def flip(at: Callable[[Commit, pa.Table], int]) -> Break:
    """Flip one bit of the first archive."""

    def broken(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
        place, data = at(commit, table), bytearray(store.get(commit.objects[0].key))
        data[place] ^= 1
        store.put(commit.objects[0].key, bytes(data))
        return table

    return broken


def truncated(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
    key = commit.objects[0].key
    store.put(key, store.get(key)[: samples_of(table)[0]["offset"] + 100])
    return table


def longer(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
    key = commit.objects[0].key
    store.put(key, store.get(key) + bytes(512))
    return table


def gone(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
    store.delete(commit.objects[0].key)
    return table


def moved(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
    return altered(table, 0, offset=samples_of(table)[0]["offset"] + 1, size_bytes=BIG - 1)


def overlapping(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
    return altered(table, 1, offset=samples_of(table)[0]["offset"] + 1)


def another(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
    return altered(table, 0, digest=a_medium(b"else")["digest"])


def unnamed(store: MemoryStore, commit: Commit, table: pa.Table) -> pa.Table:
    return altered(table, 0, shard="data/00000000-x-0.tar")


CONTENT = "bytes that do not match the SHA-256 of its commit"
PLACES = "1 samples are not where they are said to be, or others"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (flip(lambda commit, table: samples_of(table)[0]["offset"] + 7), CONTENT),
        (flip(lambda commit, table: 3), CONTENT),  # a header, which holds nobody's media
        (flip(lambda commit, table: commit.objects[0].size_bytes - 1), CONTENT),
        (truncated, CONTENT),
        (longer, CONTENT),
        (gone, "no such object"),
        (moved, PLACES),
        (overlapping, PLACES),
        (another, PLACES),
        (unnamed, "names no object 'data/00000000-x-0.tar'"),
    ],
    ids=[
        "medium",
        "header",
        "end",
        "truncated",
        "longer",
        "gone",
        "moved",
        "overlapping",
        "another",
        "unnamed",
    ],
)
def test_each_fault_is_named_once_with_its_place(store: MemoryStore, broken: Break, message: str) -> None:
    # The first archive holds three media, the second one.
    commit, table = put_media(store, [[b"a" * BIG, b"b" * 3000, b"d" * 3000], [b"c" * BIG]])
    assert len(commit.objects) == 2
    assert media_problems(store, commit, table) == []
    (problem,) = media_problems(store, commit, broken(store, commit, table))
    assert message in problem
    assert problem.startswith(store.uri)
    assert commit.objects[1].key not in problem


def test_every_broken_archive_is_named(store: MemoryStore) -> None:
    commit, table = put_media(store, [[b"a" * BIG], [b"b" * BIG], [b"c" * BIG]])
    for held in commit.objects[1:]:
        store.put(held.key, flipped(store.get(held.key)))
    found = media_problems(store, commit, table)
    assert [problem.partition(": ")[0] for problem in found] == [
        store.uri_of(each.key) for each in commit.objects[1:]
    ]


def test_media_inside_are_checked_too(store: MemoryStore) -> None:
    commit, table = put_media(store, ROWS, INSIDE)
    assert media_problems(store, commit, table) == []
    (problem,) = media_problems(store, commit, altered(table, 2, media=flipped(ROWS[1][0])))
    assert "7,000 bytes that do not match the SHA-256 of sample 0" in problem


def test_chunks_of_texts_have_no_problems_of_media(store: MemoryStore) -> None:
    commit, _ = put_media(store, ROWS)
    assert media_problems(store, replace(commit, objects=()), outcomes(0)) == []
