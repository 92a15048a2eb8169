"""The feed: blocks in the order asked for, by one request each, or an error that names the shard. Here without Ray."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from raygen.config.source import StorageOptions
from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.storage import LocalStore, open_store
from raygen.train.families.base import Block
from raygen.train.loop import feed as feeding
from raygen.train.loop.feed import feed, read_blocks
from raygen.train.prepare import shards
from raygen.train.prepare.prepare import prepare
from raygen.train.prepare.prepared import Prepared
from raygen.train.prepare.spread import in_process
from tests.train.prepare.test_prepare import many, recipe_of, whole_words, write

__all__ = ["whole_words"]


@pytest.fixture
def prepared(tmp_path: Path, whole_words: None) -> Prepared:
    recipe = recipe_of(write(tmp_path / "s.jsonl", many(400)))
    store = LocalStore(str(tmp_path / "run"))
    return prepare(recipe, tmp_path, store, say=lambda line: None, spread=in_process, budget_bytes=40_000)


def test_blocks_come_in_the_order_asked_for(tmp_path: Path, prepared: Prepared) -> None:
    store = LocalStore(str(tmp_path / "run"))
    everything = [
        table.to_pylist()
        for table in read_blocks(prepared, "train", range(len(prepared.blocks["train"])), store)
    ]
    numbers = list(range(len(everything)))
    random.Random(0).shuffle(numbers)
    found = [table.to_pylist() for table in read_blocks(prepared, "train", numbers, store)]
    assert found == [everything[number] for number in numbers]
    assert len({block.shard for block in prepared.blocks["train"]}) > 1


def test_nothing_asked_for_is_nothing(tmp_path: Path, prepared: Prepared) -> None:
    assert list(feed(prepared, "train", [], str(tmp_path / "run"), StorageOptions())) == []


def test_waves_are_small_at_first_and_never_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [Block(0, number, 1, 100, 1) for number in range(5000)]
    prepared = Prepared({"train": ["shard"]}, {"train": blocks}, None, {}, [], "digest")
    numbers = list(range(5000))
    random.Random(0).shuffle(numbers)
    waves = list(feeding._waves(prepared, "train", numbers, 10))
    assert [number for wave in waves for number in wave] == numbers
    assert [len(wave) for wave in waves] == [8, 64, 512, 1024, 1024, 1024, 1024, 320]
    monkeypatch.setattr(feeding, "WAVE_BYTES", 100 * 10 * 10)
    waves = list(feeding._waves(prepared, "train", numbers, 10))
    assert [number for wave in waves for number in wave] == numbers
    assert [len(wave) for wave in waves][:4] == [8, 11, 11, 11]
    assert list(feeding._waves(prepared, "train", [], 10)) == []


class Counted(LocalStore):
    """A store that counts what is asked of it."""

    ranges = 0

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        self.ranges += 1
        return super().get_range(key, start, stop)

    def get(self, key: str) -> bytes:
        raise AssertionError("a shard is never read whole")


def test_a_block_is_one_request(tmp_path: Path, prepared: Prepared) -> None:
    store = Counted(str(tmp_path / "run"))
    numbers = list(range(len(prepared.blocks["train"])))
    list(read_blocks(prepared, "train", numbers, store))
    store.ranges = 0
    list(read_blocks(prepared, "train", numbers, store))
    assert store.ranges == len(numbers)


def test_a_changed_shard_is_noticed(tmp_path: Path, prepared: Prepared) -> None:
    shards._cached_footer.cache_clear()
    store = LocalStore(str(tmp_path / "run"))
    key = prepared.shards["train"][0]
    data = bytearray(store.get(key))
    data[200] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(CorruptDataError, match=f"{key}, row group 0"):
        list(read_blocks(prepared, "train", [0], store))
    store.put(key, bytes(data[:-9]))
    shards._cached_footer.cache_clear()
    with pytest.raises(CorruptDataError, match=key):
        list(read_blocks(prepared, "train", [0], store))


def test_what_travels_are_units_and_errors_by_name(tmp_path: Path, prepared: Prepared) -> None:
    store = LocalStore(str(tmp_path / "run"))
    places = [feeding._place(prepared, "train", number) for number in (5, 2, 7)]
    read = list(feeding._read_ahead(store, places))
    assert [place for place, _ in read] == places
    assert [units.num_rows for _, units in read] == [prepared.blocks["train"][n].units for n in (5, 2, 7)]
    with pytest.raises(KeyNotFoundError):
        list(feeding._read_ahead(store, [(0, "prepared/gone.parquet", 0)]))


@pytest.fixture(scope="module")
def bucket() -> Iterator[StorageOptions]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "k")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="runs")
        yield StorageOptions(endpoint_url=url, region="us-east-1")
    server.stop()


def test_a_bucket_serves_as_a_directory_does(
    tmp_path: Path, prepared: Prepared, bucket: StorageOptions
) -> None:
    recipe = recipe_of(write(tmp_path / "s.jsonl", many(400)))
    store = open_store("s3://runs/one", bucket)
    again = prepare(recipe, tmp_path, store, say=lambda line: None, spread=in_process, budget_bytes=40_000)
    assert (again.digest, again.blocks) == (prepared.digest, prepared.blocks)
    assert Prepared.load(store) == again
    numbers = list(range(len(prepared.blocks["train"])))
    local = read_blocks(prepared, "train", numbers, LocalStore(str(tmp_path / "run")))
    assert list(read_blocks(again, "train", numbers, store)) == list(local)
    assert {info.key for info in store.list("prepared/parts/")} == set()
