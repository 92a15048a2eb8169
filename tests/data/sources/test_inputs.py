from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from raygen.config.source import Source, StorageOptions
from raygen.data.sources import FORMATS, open_source
from raygen.data.sources.inputs import list_inputs
from raygen.errors import SourceError
from raygen.storage import open_store
from tests.data.media.test_images import encoded
from tests.data.reading import plan, read_all
from tests.data.sources.test_parquet import source as parquet_source
from tests.data.sources.test_parquet import table_of
from tests.data.sources.test_webdataset import tar, three_each
from tests.fakes.fault_s3 import FaultS3


def text(*uris: str) -> Source:
    return Source(format="text", uri=list(uris))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/1.txt", "a/b/2.txt", "c/3.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        (["."], ["a/1.txt", "a/b/2.txt", "c/3.txt"]),
        (["a"], ["1.txt", "b/2.txt"]),
        (["a/"], ["1.txt", "b/2.txt"]),
        (["a/b/2.txt"], ["2.txt"]),
        (["*/*.txt"], ["a/1.txt", "c/3.txt"]),
        (["c", "a/b"], ["c/3.txt", "a/b/2.txt"]),
        (["c/3.txt", "a/b/2.txt"], ["c/3.txt", "a/b/2.txt"]),
    ],
)
def test_names_are_relative_to_what_is_common(
    tree: Path, monkeypatch: pytest.MonkeyPatch, uris: list[str], names: list[str]
) -> None:
    assert [found.name for found in list_inputs(text(*(str(tree / uri) for uri in uris)))] == names
    monkeypatch.chdir(tree)
    assert [found.name for found in list_inputs(text(*uris))] == names


def test_an_input_counts_once(tree: Path) -> None:
    with pytest.raises(SourceError, match=r"3\.txt is named twice"):
        list_inputs(text(f"{tree}/c", f"{tree}/*/3.txt"))


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    with pytest.raises(SourceError, match="not UTF-8; rename"):
        list_inputs(text(str(tmp_path)))


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultS3]:
    with FaultS3() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield server


@pytest.mark.parametrize("form", FORMATS.own)
def test_s3_gives_what_a_folder_gives(tmp_path: Path, s3: FaultS3, form: str) -> None:
    import pyarrow.parquet as pq

    if form == "parquet":
        pq.write_table(table_of(50), tmp_path / "a b.parquet", row_group_size=20)
    files = {
        "jsonl": {"x/a.jsonl": b'{"id": 1}\n' * 9, "y.jsonl": b"{\n[1]\n"},
        "csv": {"a%20.csv": b'id,b\n1,"x\ny"\n2,z\n'},
        "webdataset": {"0.tar": tar(three_each(7)), "1.tar": tar(three_each(2))},
        "text": {"ü/1.txt": b"one", "2.txt": b"\xff"},
        "images": {f"{i}.png": encoded("png") for i in range(5)},
        "parquet": {"a b.parquet": (tmp_path / "a b.parquet").read_bytes() if form == "parquet" else b""},
    }[form]
    options = StorageOptions(endpoint_url=s3.endpoint_url, region="us-east-1")
    uri = f"s3://bucket/in/{form}"
    for key, data in files.items():
        open_store(uri, options).put(key, data)
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(data)
    remote = Source(format=form, uri=uri, storage=options)
    local = Source(format=form, uri=str(tmp_path))
    rows = read_all(remote, 4)
    assert rows == read_all(local, 4)
    assert len(rows) >= 2
    planned = plan(remote)
    assert planned.ranges == plan(local).ranges
    assert all(each.digest.startswith("etag:") for each in planned.inputs)
    key = min(files)
    open_store(uri, options).put(key, files[key] + b" ")
    with pytest.raises(SourceError, match="has changed"):
        list(open_source(remote).read(planned.inputs, planned.ranges, None))


def test_one_s3_object_is_named_as_a_file_is(tmp_path: Path, s3: FaultS3) -> None:
    options = StorageOptions(endpoint_url=s3.endpoint_url, region="us-east-1")
    open_store("s3://bucket/deep/er", options).put("a.txt", b"x")
    source = Source(format="text", uri="s3://bucket/deep/er/a.txt", storage=options)
    assert [row.id for row in read_all(source)] == ["a.txt"]
    with pytest.raises(SourceError, match="no such object"):
        plan(source.model_copy(update={"uri": "s3://bucket/none"}))


def test_a_missing_path_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such object"):
        plan(parquet_source(tmp_path / "none.parquet"))


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("s3://bucket/sp", ["//c.txt", "/b.txt", "/d/e.txt", "a.txt", "b.txt"]),
        ("s3://bucket/sp//b.txt", ["b.txt"]),
        ("s3://bucket/sp//*.txt", ["/b.txt"]),
        ("s3://bucket/sp/*.txt", ["a.txt", "b.txt"]),
        ("s3://bucket/sp/*/*.txt", ["/b.txt"]),
        ("s3://bucket/sp/**/b.txt", ["/b.txt", "b.txt"]),
        ("s3://bucket//top.txt", ["top.txt"]),
        ("s3://bucket//t*", ["/top.txt"]),
    ],
)
def test_empty_parts_of_names_in_a_bucket_are_read_as_they_are(
    s3: FaultS3, uri: str, names: list[str]
) -> None:
    options = StorageOptions(endpoint_url=s3.endpoint_url)
    client = open_store("s3://bucket", options).client  # type: ignore[attr-defined]
    for key in ("sp/a.txt", "sp/b.txt", "sp//b.txt", "sp///c.txt", "sp//d/e.txt", "/top.txt"):
        client.put_object(Bucket="bucket", Key=key, Body=key.encode())
    source = Source(format="text", uri=uri, storage=options)
    rows = read_all(source)
    assert sorted(row.id for row in rows) == names
    assert len({row.values["text"] for row in rows}) == len(names)
    if uri.endswith("sp//b.txt"):
        assert rows[0].values["text"] == "sp//b.txt"
