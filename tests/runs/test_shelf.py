"""The shelf: where the media of an attempt go, in bounded memory, and what an attempt that fails leaves of them: nothing."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import time
from typing import IO, Any

import pytest

from raygen.config.sink import Sink
from raygen.errors import AttemptExpiredError, UnknownResultError
from raygen.json_text import read_json
from raygen.runs.commit import Attempt, chunk_of, committed_chunks
from raygen.runs.shelf import Bin, Shelf
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import BESIDE, FailingStore, a_medium, once

LIMIT = 2**16
AUTO = Sink(chunk_bytes=LIMIT, max_sample_bytes=LIMIT)  # inside, up to LIMIT
TEXT = {"number": 9, "text": "a text", "media": None}


def place_of(sample: dict[str, Any]) -> tuple[str | None, int | None]:
    return sample.get("shard"), sample.get("offset")


def names_in(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[IO[bytes]]:
    """The temporary files of all shelves, in order."""
    opened: list[IO[bytes]] = []
    temporary_file = tempfile.TemporaryFile

    def temporary(**options: Any) -> IO[bytes]:
        opened.append(temporary_file(**options))
        return opened[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    return opened


def test_a_bin_keeps_only_digests() -> None:
    sample = a_medium(b"picture")
    Bin().take(0, "a", [sample])
    assert sample == {**a_medium(b"picture"), "media": None}
    assert Bin().close() == ()


def test_small_media_stay_in_their_samples(store: MemoryStore, files: list[IO[bytes]]) -> None:
    samples = [a_medium(b"x" * (LIMIT // 2), number) for number in range(2)]
    with Shelf(store, 0, Attempt(10), AUTO) as shelf:
        for place, sample in enumerate(samples):
            shelf.take(place, f"r{place}", [sample])
        assert shelf.close() == ()
    assert samples == [a_medium(b"x" * (LIMIT // 2), number) for number in range(2)]
    assert (store.objects, files) == ({}, [])


def test_one_byte_more_than_a_table_may_hold_and_all_go_beside_it(store: MemoryStore) -> None:
    samples = [a_medium(b"x" * (LIMIT // 2)), a_medium(b"y" * (LIMIT // 2 + 1), 1), a_medium(b"z", 2)]
    with Shelf(store, 0, Attempt(10), AUTO) as shelf:
        for place, sample in enumerate(samples):
            shelf.take(place, f"r{place}", [sample])
        objects = shelf.close()
    assert [each["media"] for each in samples] == [None, None, None]
    for sample, data in zip(samples, (b"x" * (LIMIT // 2), b"y" * (LIMIT // 2 + 1), b"z"), strict=True):
        shard, offset = place_of(sample)
        assert store.get_range(str(shard), offset or 0, (offset or 0) + len(data)) == data
    assert {each["shard"] for each in samples} == {held.key for held in objects}


def test_beside_means_the_first_byte(store: MemoryStore) -> None:
    sample = a_medium(b"x")
    with Shelf(store, 0, Attempt(10), BESIDE) as shelf:
        shelf.take(0, "a", [sample])
        (held,) = shelf.close()
    assert (sample["media"], sample["shard"]) == (None, held.key)


def test_texts_are_left_as_they_are(store: MemoryStore) -> None:
    text, medium = dict(TEXT), a_medium(b"x")
    with Shelf(store, 0, Attempt(10), BESIDE) as shelf:
        shelf.take(0, "a", [text, medium, text])
        (held,) = shelf.close()
    assert text == TEXT
    assert len(names_in(store.get(held.key))) == 2  # the medium, and what is told of it


def test_a_chunk_of_texts_has_no_archive(store: MemoryStore, files: list[IO[bytes]]) -> None:
    with Shelf(store, 0, Attempt(10), BESIDE) as shelf:
        shelf.take(0, "a", [dict(TEXT)])
        assert shelf.close() == ()
    assert (store.objects, files) == ({}, [])


def test_an_archive_is_cut_before_the_medium_that_would_make_it_too_large(store: MemoryStore) -> None:
    samples = [a_medium(bytes([n]) * 30_000, n) for n in range(5)]
    with Shelf(store, 3, Attempt(10), BESIDE) as shelf:
        shelf.take(7, "a", samples)
        objects = shelf.close()
    assert [len(names_in(store.get(held.key))) // 2 for held in objects] == [2, 2, 1]
    assert [each["shard"] for each in samples] == [objects[n].key for n in (0, 0, 1, 1, 2)]
    assert all(held.size_bytes <= BESIDE.chunk_bytes + 4096 for held in objects)  # its end, and what it tells


def test_objects_are_the_attempts_own_and_told_with_size_and_digest(
    store: MemoryStore, files: list[IO[bytes]]
) -> None:
    attempt = Attempt(10)
    with Shelf(store, 3, attempt, BESIDE) as shelf:
        shelf.take(0, "a", [a_medium(bytes([n]) * 40_000, n) for n in range(2)])
        objects = shelf.close()
    assert [held.key for held in objects] == [f"data/00000003-{attempt.id}-{n}.tar" for n in range(2)]
    assert set(store.objects) == {held.key for held in objects}
    for held in objects:
        data = store.get(held.key)
        assert (held.size_bytes, held.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (held.kind, held.run, chunk_of(held.key)) == ("shard", None, 3)
    assert len(files) == 2
    assert all(file.closed for file in files)


def test_each_medium_has_a_json_member_that_says_what_it_is(store: MemoryStore) -> None:
    sample = a_medium(b"sound", 4, "audio/x-wav; rate=1") | {"seconds": 0.5, "width": None, "height": None}
    with Shelf(store, 0, Attempt(10), BESIDE) as shelf:
        shelf.take(12, "../é.x", [sample])
        (held,) = shelf.close()
    with tarfile.open(fileobj=io.BytesIO(store.get(held.key))) as tar:
        medium, told = tar.getmembers()
        said = read_json(tar.extractfile(told).read().decode())  # type: ignore[union-attr]
    assert (medium.name, told.name) == ("00000012-_____x-4.wav", "00000012-_____x-4.json")
    assert medium.offset_data == sample["offset"]
    assert said == {
        "row_id": "../é.x",
        "number": 4,
        "step": "draw",
        "media_type": "audio/x-wav; rate=1",
        "width": None,
        "height": None,
        "seconds": 0.5,
        "sha256": hashlib.sha256(b"sound").hexdigest(),
    }


def test_an_archive_that_got_no_answer_is_sent_again_whole(slept: list[float]) -> None:
    store = FailingStore(once("put", UnknownResultError("no answer"), times=2))
    with Shelf(store, 0, Attempt(10), BESIDE) as shelf:
        shelf.take(0, "a", [a_medium(b"x" * 5000)])
        (held,) = shelf.close()
    assert store.asked == ["put data"] * 3
    assert hashlib.sha256(store.get(held.key)).hexdigest() == held.sha256
    assert len(slept) == 2


def test_an_attempt_past_its_limit_stores_nothing(store: MemoryStore, files: list[IO[bytes]]) -> None:
    late = Attempt(10, time.time() - 11)
    with Shelf(store, 0, late, BESIDE) as shelf, pytest.raises(AttemptExpiredError):
        shelf.take(0, "a", [a_medium(b"x" * 40_000), a_medium(b"y" * 40_000, 1)])
    assert store.objects == {}
    assert [file.closed for file in files] == [True]


def test_a_shelf_left_by_an_error_leaves_no_file_and_nothing_that_counts(
    store: MemoryStore, files: list[IO[bytes]]
) -> None:
    def work() -> None:
        with Shelf(store, 0, Attempt(10), BESIDE) as shelf:
            shelf.take(0, "a", [a_medium(bytes([n]) * 40_000, n) for n in range(2)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert [file.closed for file in files] == [True, True]
    assert [chunk_of(key) for key in store.objects] == [0]  # the full one, for `collect`
    assert committed_chunks(store) == set()
