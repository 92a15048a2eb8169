"""S3Store against a store that fails, and FaultS3's own promises."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from raygen.config.source import StorageOptions
from raygen.errors import (
    AccessError,
    ConfigError,
    CorruptDataError,
    KeyNotFoundError,
    StorageError,
    UnknownResultError,
)
from raygen.storage import digest_input, find_inputs, open_store
from raygen.storage.s3 import BODY_ATTEMPTS, REQUEST_ATTEMPTS, S3Store
from tests.fakes.fault_s3 import Faults, FaultS3


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def s3() -> Iterator[FaultS3]:
    with FaultS3() as server:
        yield server


@pytest.fixture
def store(s3: FaultS3) -> S3Store:
    return store_of(s3)


def store_of(s3: FaultS3, uri: str = "s3://bucket/run") -> S3Store:
    return S3Store(uri, StorageOptions(endpoint_url=s3.endpoint_url))


def test_a_503_is_sent_again(s3: FaultS3, store: S3Store) -> None:
    s3.script("PUT", "a", ["error_503", "drop"])
    s3.script("GET", "a", ["error_500", "drop", "lost_answer"])
    assert store.put_if_absent("a", b"1")
    assert store.get("a") == b"1"
    assert s3.given == {"error_503": 1, "error_500": 1, "drop": 2, "lost_answer": 1}


def test_after_a_lost_answer_a_writer_is_refused_its_own_write(s3: FaultS3, store: S3Store) -> None:
    s3.script("PUT", "commits/", ["lost_answer"])
    assert not store.put_if_absent("commits/1", b"mine")
    assert store.get("commits/1") == b"mine"


@pytest.mark.parametrize("fault", ["error_503", "error_500", "drop", "conflict_409", "error_400"])
def test_an_unknown_fate_is_called_unknown(s3: FaultS3, store: S3Store, fault: str) -> None:
    s3.script("PUT", "a", [fault] * REQUEST_ATTEMPTS)
    kind = StorageError if fault == "error_400" else UnknownResultError
    for write in (store.put, store.put_if_absent):
        with pytest.raises(kind, match="cannot write s3://bucket/run/a") as caught:
            write("a", b"1")
        assert type(caught.value) is kind
        if fault in ("conflict_409", "error_400"):
            continue
        break
    assert s3.requests["PUT"] == (2 if fault in ("conflict_409", "error_400") else REQUEST_ATTEMPTS)
    assert s3.objects() == {}


def test_no_answer_at_all(store: S3Store, s3: FaultS3) -> None:
    s3.__exit__()
    with pytest.raises(UnknownResultError, match=r"no usable answer from http://127\.0\.0\.1"):
        store.put_if_absent("a", b"1")
    with pytest.raises(StorageError, match="cannot read") as caught:
        store.get("a")
    assert not isinstance(caught.value, UnknownResultError)


def test_a_truncated_body_is_read_again(s3: FaultS3, store: S3Store) -> None:
    data = bytes(range(256)) * 1000
    store.put("a", data)
    s3.script("GET", "a", ["truncate", "truncate", None, "truncate"])
    assert store.get("a") == data
    assert store.get_range("a", 1000, 2000) == data[1000:2000]
    assert s3.given == {"truncate": 3}
    s3.script("GET", "a", ["truncate"] * BODY_ATTEMPTS)
    with pytest.raises(StorageError, match=f"broke off {BODY_ATTEMPTS} times"):
        store.get("a")
    s3.script("GET", "run/", ["truncate", "truncate"])
    assert [info.key for info in store.list()] == ["a"]


def test_a_bit_flip_is_never_returned(s3: FaultS3, store: S3Store) -> None:
    store.put("a", b"data" * 100)
    s3.script("GET", "a", ["bit_flip"])
    assert store.get("a") == b"data" * 100
    s3.script("PUT", "b", ["bit_flip"])
    store.put("b", b"data" * 100)
    assert s3.objects()["run/b"] != b"data" * 100
    with pytest.raises(CorruptDataError, match="run/b does not match its checksum"):
        store.get("b")
    assert s3.given == {"bit_flip": 2}


def test_bytes_that_change_on_the_way_in_are_refused(s3: FaultS3) -> None:
    wrong = hashlib.sha256(b"other").hexdigest()
    for name, value in {
        "x-amz-content-sha256": wrong,
        "Content-MD5": "AAAA",
        "x-amz-checksum-crc32": "AAAAAA==",
    }.items():
        assert _raw_put(s3, b"data", {name: value}) == 400
    assert s3.objects() == {}


def test_aws_chunked_bodies_are_understood(s3: FaultS3) -> None:
    body = b"4;chunk-signature=0\r\nabcd\r\n2\r\nef\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n"
    right = base64.b64encode(zlib.crc32(b"abcdef").to_bytes(4, "big"))
    headers = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "6"}
    assert _raw_put(s3, body % right, headers) == 200
    assert s3.objects() == {"key": b"abcdef"}
    assert _raw_put(s3, body % b"AAAAAA==", headers) == 400
    chunks = iter([body[:10], body[10:] % right])
    assert _raw_put(s3, chunks, headers | {"Transfer-Encoding": "chunked"}) == 200


def _raw_put(s3: FaultS3, body: bytes | Iterator[bytes], headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(s3.endpoint_url.removeprefix("http://"))
    connection.request("PUT", "/bucket/key", body, headers, encode_chunked="Transfer-Encoding" in headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_store_that_ignores_if_none_match_is_found_out() -> None:
    with FaultS3(ignore_if_none_match=True) as s3:
        store = store_of(s3)
        assert not store.has_conditional_put()
        assert s3.objects() == {}


def test_the_probe_is_not_misled_by_faults(s3: FaultS3, store: S3Store) -> None:
    s3.script("PUT", ".probe-", ["lost_answer", None, "conflict_409", None, "error_503", "lost_answer"])
    assert store.has_conditional_put()  # first: stored, its answer lost; sent again: refused
    assert store.has_conditional_put()  # first: 409, so all over again
    s3.script("PUT", ".probe-", ["error_501"])
    assert not store.has_conditional_put()
    s3.script("PUT", ".probe-", ["conflict_409"] * 3)
    assert not store.has_conditional_put()  # it takes plain writes only
    s3.script("PUT", ".probe-", ["conflict_409"] * 3 + ["error_503"] * REQUEST_ATTEMPTS)
    with pytest.raises(StorageError, match="answers ServiceUnavailable"):
        store.has_conditional_put()  # it takes none
    s3.script("PUT", ".probe-", ["error_403"])
    with pytest.raises(AccessError, match="cannot write"):
        store.has_conditional_put()
    assert s3.objects() == {}


def test_a_missing_bucket_is_named(s3: FaultS3) -> None:
    for use in (
        lambda store: store.put_if_absent("a", b""),
        lambda store: store.get("a"),
        lambda store: store.stat("a"),
        lambda store: store.exists("a"),
        lambda store: list(store.list()),
        lambda store: store.has_conditional_put(),
        lambda store: store.delete("a"),
        lambda store: find_inputs(store.uri_of("a"), store.options),
        lambda store: find_inputs(store.uri_of("*"), store.options),
    ):
        with pytest.raises(
            AccessError, match=r"no bucket 'missing' at http://127\.0\.0\.1:\d+; create it, or"
        ):
            use(store_of(s3, "s3://missing/run"))


def test_refused_access_says_what_to_check(s3: FaultS3, store: S3Store) -> None:
    for method, use in {
        "GET": lambda: store.get("a"),
        "HEAD": lambda: store.stat("a"),
        "PUT": lambda: store.put("a", b""),
        "DELETE": lambda: store.delete("a"),
    }.items():
        s3.script(method, "a", ["error_403"])
        with pytest.raises(AccessError, match=r"s3://bucket/run/a: http\S+ answers \w+; check credentials"):
            use()
    s3.script("GET", "run/", ["error_403"])
    with pytest.raises(AccessError, match="cannot list"):
        list(store.list())


def test_without_credentials(s3: FaultS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessError, match=r"no usable credentials.*set AWS_ACCESS_KEY_ID"):
        store_of(s3).put("a", b"")
    with pytest.raises(AccessError, match=r"or `storage\.profile` to a profile"):
        S3Store("s3://bucket", StorageOptions(profile="nobody")).get("a")


@pytest.mark.parametrize(
    ("uri", "endpoint", "message"),
    [
        ("s3://b!/run", "http://127.0.0.1:1", "no such bucket name"),
        ("s3://bucket", "localhost", "storage for s3://bucket: .*https://host:9000"),
        ("s3:///run", None, "names no bucket"),
        ("s3://bucket/../run", None, "a key is a relative path"),
    ],
)
def test_a_wrong_address_is_a_config_error(uri: str, endpoint: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(uri, StorageOptions(endpoint_url=endpoint)).get("a")


def test_the_environment_names_the_endpoint(s3: FaultS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    open_store("s3://bucket/env").put("a", b"1")
    assert s3.objects() == {"env/a": b"1"}


def test_a_write_carries_its_sha256(s3: FaultS3, store: S3Store) -> None:
    store.put("a", b"abc")
    sha256 = base64.b64encode(hashlib.sha256(b"abc").digest()).decode()
    assert s3.memory.buckets["bucket"]["run/a"].checksums == {"x-amz-checksum-sha256": sha256}


def test_a_change_while_an_object_is_read_is_noticed(s3: FaultS3, store: S3Store) -> None:
    store.put("a", b"1" * 3 * 2**20)
    with store.open("a") as file:
        assert file.read(10) == b"1" * 10
        store.put("a", b"2" * 3 * 2**20)
        with pytest.raises(StorageError, match="run/a changed while it was read"):
            file.read()


def test_reading_on_costs_one_request_a_megabyte(s3: FaultS3, store: S3Store) -> None:
    store.put("a", b"line\n" * 2**20)
    with store.open("a") as file:
        assert sum(1 for _ in file) == 2**20
    assert s3.requests["GET"] == 5
    with store.open("a") as file:
        assert len(file.read()) == 5 * 2**20
    assert s3.requests["GET"] == 6


def test_a_store_that_knows_no_ranges_still_gives_the_range(s3: FaultS3, store: S3Store) -> None:
    store.put("a", b"0123456789")
    whole = s3.memory.get
    s3.memory.get = lambda bucket, key, headers: whole(  # type: ignore[method-assign]
        bucket, key, {name: headers[name] for name in headers if name != "range"}
    )
    assert store.get_range("a", 2, 5) == b"234"


def test_a_digest_names_the_version_of_the_object(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a", b"1")
    info = store.stat("a")
    head = S3Store._head
    monkeypatch.setattr(S3Store, "_head", lambda self, key: head(self, key) | {"VersionId": "v7"})
    assert digest_input(store, info) == f"etag:{info.version}@v7"


def test_folder_marks_are_no_objects(s3: FaultS3, store: S3Store) -> None:
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")
    for key in ("run/", "run/sub/", "run/sub/a"):
        client.put_object(Bucket="bucket", Key=key, Body=b"")
    client.close()
    assert [info.key for info in store.list()] == ["sub/a"]


def test_stores_with_the_same_options_share_connections(s3: FaultS3, store: S3Store) -> None:
    assert store.client is store_of(s3, "s3://other").client is store.child("x").client
    assert (
        store.client
        is not S3Store("s3://bucket", store.options.model_copy(update={"region": "eu-west-1"})).client
    )


def test_nothing_is_lost_among_random_faults() -> None:
    faults = Faults(seed=3, error_503=0.1, lost_answer=0.05, conflict_409=0.05, truncate=0.1, bit_flip=0.05)
    with FaultS3(faults) as s3:
        store = store_of(s3)
        expected = {f"k{number:03d}": b"%d" % number * 50 for number in range(120)}

        def write(key: str) -> int:
            for unknown in range(10):
                try:
                    store.put_if_absent(key, expected[key])
                except UnknownResultError:
                    continue
                return unknown
            raise AssertionError(f"{key}: ten unknown results")

        with ThreadPoolExecutor(8) as pool:
            unknown = sum(pool.map(write, expected))
        s3.faults = Faults(seed=4, error_503=0.1, truncate=0.1)

        def is_corrupt(key: str) -> bool:
            try:
                assert store.get(key) == expected[key]
            except CorruptDataError:
                return True
            return False

        with ThreadPoolExecutor(8) as pool:
            corrupt = sum(pool.map(is_corrupt, expected))
        stored = {key.removeprefix("run/"): data for key, data in s3.objects().items()}
        assert stored.keys() == expected.keys()
        assert corrupt == sum(stored[key] != expected[key] for key in expected) == s3.given["bit_flip"] > 0
        assert unknown == s3.given["conflict_409"] > 0
        assert all(s3.given[name] > 0 for name in ("error_503", "lost_answer", "truncate"))


def test_the_same_seed_gives_the_same_faults() -> None:
    faults = Faults(seed=1, error_503=0.3, bit_flip=0.3)
    draws = [faults.draw("GET", "key", count, "GET object") for count in range(300)]
    assert draws == [
        Faults(seed=1, error_503=0.3, bit_flip=0.3).draw("GET", "key", n, "GET object") for n in range(300)
    ]
    assert 60 < draws.count("error_503") < 120
    assert "bit_flip" not in [faults.draw("HEAD", "key", count, "HEAD object") for count in range(100)]


def test_local_stores_do_not_load_boto3() -> None:
    code = "import sys, raygen.storage as s; s.open_store('/tmp'); print('boto3' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"


def test_a_missing_object_in_a_bucket_that_may_not_be_asked_for(s3: FaultS3, store: S3Store) -> None:
    s3.script("HEAD", "", [None, "error_403"])
    with pytest.raises(KeyNotFoundError):
        store.stat("a")
    with pytest.raises(KeyNotFoundError):
        store.stat("b")
    assert s3.requests["HEAD"] == 3
