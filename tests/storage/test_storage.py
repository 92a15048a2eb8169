"""One contract for every store: a directory, S3 by moto, S3 by FaultS3 (which validates FaultS3)."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from raygen.config.source import StorageOptions
from raygen.errors import ConfigError, CorruptDataError, KeyNotFoundError, SourceError
from raygen.storage import Store, arrow_filesystem, digest_input, find_inputs, open_store, split_uri
from tests.fakes.fault_s3 import FaultS3

ODD_KEYS = ["a b.txt", "ä/ü~€.txt", "100%/%20.txt", "q?x=1&y#z.txt", "plus+and,comma.txt", "日本/語.txt"]


@dataclass
class Place:
    """Where a store of a test lives."""

    uri: str
    options: StorageOptions

    def store(self) -> Store:
        return open_store(self.uri, self.options)

    def find(self, below: str) -> list[str]:
        """Return the URIs, below this place, of what `below` names."""
        found = find_inputs(f"{self.uri}/{below}" if below else self.uri, self.options)
        return [store.uri_of(info.key).removeprefix(self.uri + "/") for store, info in found]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    client = raw_client(f"http://{host}:{port}")
    client.create_bucket(Bucket="bucket")
    client.close()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def fault_url() -> Iterator[str]:
    with FaultS3(page_size=3) as server:
        yield server.endpoint_url


@pytest.fixture(params=["local", "moto", "fault_s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(str(tmp_path / "store"), StorageOptions())
    url = request.getfixturevalue("moto_url" if request.param == "moto" else "fault_url")
    return Place(f"s3://bucket/{uuid.uuid4().hex}", StorageOptions(endpoint_url=url))


@pytest.fixture
def store(place: Place) -> Store:
    return place.store()


def raw_client(url: str):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=url, **keys)


def test_what_was_put_is_got(store: Store) -> None:
    for key, data in [("empty", b""), ("a/b/c.bin", bytes(range(256)) * 5000)]:
        store.put(key, data)
        assert store.get(key) == data
        assert store.stat(key).size_bytes == len(data)
    store.put("empty", b"replaced")
    assert store.get("empty") == b"replaced"


def test_a_new_content_has_a_new_version(store: Store) -> None:
    store.put("a", b"1")
    before = store.stat("a")
    store.put("a", b"22")
    after = store.stat("a")
    assert before.version != after.version
    assert after == next(store.list("a"))
    assert before.modified_s <= after.modified_s


def test_a_missing_object_is_a_key_not_found(store: Store) -> None:
    store.put("folder/a", b"")
    for missing in ("nothing", "folder", "folder/a/b"):
        for read in (store.stat, store.get, store.open, lambda key: store.get_range(key, 0, 1)):
            with pytest.raises(KeyNotFoundError):
                read(missing)
        with pytest.raises(KeyNotFoundError):
            store.get_range(missing, 0, 0)
        assert not store.exists(missing)
        store.delete(missing)
    assert store.exists("folder/a")


def test_ranges_end_with_the_object(store: Store) -> None:
    store.put("a", b"0123456789")
    store.put("empty", b"")
    cases = {
        (0, 4): b"0123",
        (4, 5): b"4",
        (7, 99): b"789",
        (9, 10): b"9",
        (10, 12): b"",
        (50, 60): b"",
        (3, 3): b"",
    }
    assert {bounds: store.get_range("a", *bounds) for bounds in cases} == cases
    assert store.get_range("empty", 0, 5) == b""


def test_an_opened_object_reads_and_seeks(store: Store) -> None:
    data = b"".join(b"line %d\n" % number for number in range(300_000))
    store.put("lines", data)
    with store.open("lines") as file:
        assert sum(1 for _ in file) == 300_000
        assert file.seek(-7, 2) == len(data) - 7
        assert file.read() == data[-7:]
        assert file.read() == b""
        file.seek(0)
        assert file.read() == data
        file.seek(1_500_000)
        assert file.tell() == 1_500_000
        assert file.read(10) == data[1_500_000:1_500_010]
        assert file.read(2**21) == data[1_500_010 : 1_500_010 + 2**21]


def test_a_file_is_stored_as_it_is_and_one_that_changed_is_not(store: Store) -> None:
    data = os.urandom(3 * 2**20 + 1)
    digest = hashlib.sha256(data).hexdigest()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        store.put_file("data/a.tar", file, digest)
        assert store.get("data/a.tar") == data
        file.seek(5)
        file.write(b"other")
        file.flush()
        with pytest.raises(CorruptDataError, match="is this disk sound"):
            store.put_file("data/b.tar", file, digest)
    assert not store.exists("data/b.tar")


def test_a_child_knows_its_parent(store: Store) -> None:
    store.put("a/b/c.txt", b"c")
    child = store.child("a/b")
    assert child.get("c.txt") == b"c"
    assert child.parent().get("b/c.txt") == b"c"
    assert child.parent().parent().uri == store.uri
    assert child.parent().parent().get("a/b/c.txt") == b"c"


def test_only_the_first_conditional_write_counts(store: Store) -> None:
    assert store.put_if_absent("commits/1", b"first")
    assert not store.put_if_absent("commits/1", b"second")
    assert store.get("commits/1") == b"first"
    store.delete("commits/1")
    assert store.put_if_absent("commits/1", b"third")
    assert [info.key for info in store.list()] == ["commits/1"]


def test_of_64_racing_writers_one_wins(store: Store) -> None:
    start = threading.Barrier(64)

    def write(number: int) -> bool:
        start.wait()
        return store.put_if_absent("new/commit", b"%d" % number)

    with ThreadPoolExecutor(64) as pool:
        won = list(pool.map(write, range(64)))
    assert sum(won) == 1
    assert store.get("new/commit") == b"%d" % won.index(True)
    assert [info.key for info in store.list()] == ["new/commit"]


def test_the_probe_finds_conditional_writes_and_leaves_nothing(store: Store) -> None:
    assert store.has_conditional_put()
    assert list(store.list()) == []


def test_listing_is_in_the_order_of_keys(store: Store) -> None:
    keys = ["a", "a-b", "a.b", "a/x", "a0", "b/c/d", "b/c/e", "b/d", "b-", "ä", "Z", *"0123456789"]
    keys.remove("a")  # a directory cannot hold both "a" and "a/x"
    for key in keys:
        store.put(key, key.encode())
    assert [info.key for info in store.list()] == sorted(keys)
    assert [info.key for info in store.list("b/c/")] == ["b/c/d", "b/c/e"]
    assert [info.key for info in store.list("b/c")] == ["b/c/d", "b/c/e"]
    assert [info.key for info in store.list("a")] == ["a-b", "a.b", "a/x", "a0"]
    assert list(store.list("nothing/")) == []
    assert [info.size_bytes for info in store.list("b/d")] == [3]


def test_a_store_never_sees_what_is_beside_it(place: Place) -> None:
    open_store(place.uri + "2", place.options).put("a", b"")
    assert list(place.store().list()) == []


def test_keys_cannot_leave_the_store(store: Store) -> None:
    reads = [store.get, store.stat, store.open, store.delete, lambda key: store.get_range(key, 0, 1)]
    writes = [lambda key: store.put(key, b""), lambda key: store.put_if_absent(key, b"")]
    for key in ["", "/etc/passwd", "../a", "a/../../b", "a/..", "./a", "a\0b"]:
        for use in [*([] if key[:1] == "/" and store.uri.startswith("s3:") else reads), *writes, store.child]:
            with pytest.raises(ConfigError, match=r"a key is a relative path"):
                use(key)
    with pytest.raises(ConfigError):
        list(store.list("../"))


def test_odd_names_are_names_like_others(place: Place) -> None:
    store = place.store()
    for key in ODD_KEYS:
        assert store.put_if_absent(key, key.encode())
        assert not store.put_if_absent(key, b"y")
        assert [info.key for info in store.list(key)] == [key]
        assert store.get(key) == key.encode()
        where, name = split_uri(store.uri_of(key), place.options)
        assert where.get(name) == key.encode()
        assert where.uri_of(name) == store.uri_of(key)
        assert place.find(key) == [key]
    assert place.find("") == sorted(ODD_KEYS)
    for key in ODD_KEYS:
        store.delete(key)
    assert list(store.list()) == []


def test_many_objects_are_got_in_order(store: Store) -> None:
    keys = [f"many/{number:03d}" for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, key.encode() * 100), keys))
    assert list(store.get_many(iter(keys), threads=4)) == [(key, key.encode() * 100) for key in keys]
    with pytest.raises(KeyNotFoundError):
        list(store.get_many(["many/000", "missing"]))
    some = store.get_many(keys)
    assert next(some)[0] == "many/000"
    some.close()


def test_a_store_pickles(store: Store) -> None:
    store.put("a", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again.uri == store.uri
    assert again.get("a") == b"1"


def test_a_child_is_what_lies_below_a_prefix(store: Store) -> None:
    child = store.child("retries/0001/")
    assert child.put_if_absent("plan.json", b"{}")
    assert child.uri == store.uri + "/retries/0001"
    assert store.get("retries/0001/plan.json") == b"{}"
    assert [info.key for info in child.list()] == ["plan.json"]


def test_digests_pin_the_content(place: Place) -> None:
    store = place.store()
    store.put("a", b"abc")
    info = store.stat("a")
    if place.uri.startswith("s3:"):
        assert digest_input(store, info) == "etag:900150983cd24fb0d6963f7d28e17f72"
    else:
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert digest_input(store, info) == f"sha256:{sha256}"
    store.put("a", b"other")
    with pytest.raises(SourceError, match="changed since it was listed"):
        digest_input(store, info)


def test_arrow_reads_what_was_put(store: Store) -> None:
    store.put("data/a b.bin", b"arrow")
    filesystem, path_of = arrow_filesystem(store)
    with filesystem.open_input_file(path_of("data/a b.bin")) as file:
        assert file.read() == b"arrow"


IN_2024 = ["2024/a.parquet", "2024/b.parquet", "2024/deep/er/c.parquet"]
GLOB_KEYS = [
    *IN_2024,
    "2025/_d.parquet",
    "2025/a.jsonl",
    "2025/.hidden.parquet",
    "2025/_temporary/e.parquet",
    "top.parquet",
    "[x].txt",
    "x.txt",
]


GLOBS = {
    "top.parquet": ["top.parquet"],
    "2024/*.parquet": ["2024/a.parquet", "2024/b.parquet"],
    "2024/a*": ["2024/a.parquet"],
    "20*/a.*": ["2024/a.parquet", "2025/a.jsonl"],
    "202[5-9]/*": ["2025/_d.parquet", "2025/a.jsonl"],
    "202[!5]/?.parquet": ["2024/a.parquet", "2024/b.parquet"],
    "2025/.h*": ["2025/.hidden.parquet"],
    "**/*.parquet": [*IN_2024, "2025/_d.parquet", "top.parquet"],
    "2024/**/c.parquet": ["2024/deep/er/c.parquet"],
    "2024/**": IN_2024,
    "**/er/**": ["2024/deep/er/c.parquet"],
    "2025": ["2025/a.jsonl"],
    "2025/_temporary": ["2025/_temporary/e.parquet"],
    "2024/": IN_2024,
    "": [*IN_2024, "2025/a.jsonl", "[x].txt", "top.parquet", "x.txt"],
    "[x].txt": ["[x].txt"],
    "[xyz].txt": ["x.txt"],
}
NOTHING = ["nothing", "nothing/", "*.nothing", "a/**", "20", "_only", "_*", "*/er/*"]


def test_inputs_are_found(place: Place) -> None:
    store = place.store()
    for key in GLOB_KEYS:
        store.put(key, b"")
    assert {below: place.find(below) for below in GLOBS} == GLOBS
    for below in NOTHING:
        with pytest.raises(SourceError) as caught:
            place.find(below)
        assert str(caught.value).startswith(f"{place.uri}/{below}: no ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["gs://bucket/a", "http://host/a", "s3n://bucket/a", "", "file://host/a", "s3://"]
)
def test_other_uris_are_refused(uri: str) -> None:
    for use in (open_store, find_inputs, split_uri):
        with pytest.raises(ConfigError, match=r"s3://bucket|file:///path"):
            use(uri)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "/"])
def test_an_object_needs_a_name(uri: str) -> None:
    with pytest.raises(ConfigError, match="names no object"):
        split_uri(uri)


def test_a_bucket_takes_no_wildcard() -> None:
    with pytest.raises(ConfigError, match="takes no wildcard"):
        find_inputs("s3://buck*/a")


def test_fault_s3_answers_as_moto_does(moto_url: str) -> None:
    """The raw answers of both, to requests that stores do not send, or where a store hides the difference."""
    base = uuid.uuid4().hex
    with FaultS3() as s3:
        assert _answers(s3.endpoint_url, base) == _answers(moto_url, base)


def _answers(url: str, base: str) -> list[object]:
    s3 = raw_client(url)
    answers: list[object] = []

    def ask(operation: str, fields: tuple[str, ...], bucket: str = "bucket", **arguments: object) -> None:
        try:
            answer = getattr(s3, operation)(Bucket=bucket, **arguments)
        except s3.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            answers.append((operation, status, error.response["Error"]["Code"]))
            return
        if "Body" in fields:
            answer["Body"] = answer["Body"].read()
        answers.append((operation, [answer.get(field) for field in fields]))

    for key in ("a/1", "a/2", "b/1 +%", "c", "d"):
        ask("put_object", ("ETag",), Key=f"{base}/{key}", Body=key.encode() * 3, ChecksumAlgorithm="SHA256")
    ask("put_object", ("ETag",), Key=f"{base}/c", Body=b"", IfNoneMatch="*")
    ask("put_object", ("ETag",), Key=f"{base}/c", Body=b"", IfMatch='"wrong"')
    ask(
        "get_object",
        ("Body", "ETag", "ContentLength", "ChecksumSHA256"),
        Key=f"{base}/c",
        ChecksumMode="ENABLED",
    )
    for range_ in ("bytes=1-1", "bytes=1-", "bytes=-2", "bytes=0-99", "bytes=50-60"):
        ask("get_object", ("Body", "ContentRange", "ContentLength"), Key=f"{base}/c", Range=range_)
    ask("get_object", ("Body",), Key=f"{base}/c", IfMatch='"wrong"')
    ask("head_object", ("ContentLength", "ETag"), Key=f"{base}/c")
    ask("head_object", ("ContentLength",), Key=f"{base}/none")
    ask("get_object", ("Body",), Key=f"{base}/none")
    for operation, arguments in {
        "get_object": {"Key": "a"},
        "put_object": {"Key": "a", "Body": b""},
        "delete_object": {"Key": "a"},
        "list_objects_v2": {},
        "head_bucket": {},
    }.items():
        ask(operation, (), bucket="no-such-bucket", **arguments)
    ask(
        "list_objects_v2",
        ("KeyCount", "IsTruncated", "CommonPrefixes"),
        Prefix=f"{base}/",
        Delimiter="/",
        MaxKeys=3,
    )
    for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket="bucket", Prefix=base, PaginationConfig={"PageSize": 2}
    ):
        answers.append([(found["Key"], found["Size"], found["ETag"]) for found in page["Contents"]])
    ask("list_objects_v2", ("KeyCount",), Prefix=base, StartAfter=f"{base}/b")
    ask("delete_objects", (), Delete={"Objects": [{"Key": f"{base}/a/1"}, {"Key": f"{base}/none"}]})
    ask("delete_object", (), Key=f"{base}/none")
    ask("list_objects_v2", ("KeyCount",), Prefix=base)
    s3.close()
    return answers
