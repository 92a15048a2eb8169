"""Shards: archives that Python's tarfile and raygen's own reader understand alike, whatever the rows are called."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from raygen.data.media.shards import ShardWriter, safe_name, suffix_of
from raygen.data.sources.tar import Member, members

CONTENTS = [bytes([size % 256]) * size for size in (0, 1, 511, 512, 513, 5000)]
HOSTILE = ["", ".", "..", "../../etc/passwd", "/etc/passwd", "C:\\a", "a\0b", "a\nb", "a.b.c", "-rf", "a b"]
HOSTILE += ["a" * 500, "é" * 100, "\ud800", "a.json"]


def names_of(row_ids: list[str]) -> list[str]:
    return [safe_name(place, row_id) for place, row_id in enumerate(row_ids)]


def test_two_readers_find_the_same_members() -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    offsets = [writer.add(f"{number}.bin", data) for number, data in enumerate(CONTENTS)]
    sha256, archive = writer.close(), file.getvalue()
    assert (sha256, writer.size_bytes) == (hashlib.sha256(archive).hexdigest(), len(archive))
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        theirs = [(each.name, each.offset_data, each.size) for each in tar]
    ours = list(members(io.BytesIO(archive), 0, len(archive)))
    assert all(isinstance(each, Member) and each.fault is None for each in ours)
    found = [(each.name, each.data, each.size_bytes) for each in ours if isinstance(each, Member)]
    told = zip(CONTENTS, offsets, strict=True)
    assert found == theirs == [(f"{n}.bin", offset, len(data)) for n, (data, offset) in enumerate(told)]
    for offset, data in zip(offsets, CONTENTS, strict=True):
        assert archive[offset : offset + len(data)] == data


def test_an_archive_can_be_read_as_a_stream_and_ends_as_tar_asks() -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    writer.close()
    assert file.getvalue() == bytes(1024)
    file = io.BytesIO()
    writer = ShardWriter(file)
    writer.add("a.bin", b"abc")
    writer.close()
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r|") as tar:
        assert [tar.extractfile(each).read() for each in tar] == [b"abc"]  # type: ignore[union-attr]
    assert file.getvalue()[512:515] == b"abc"
    assert len(file.getvalue()) == 512 * 4


def test_the_same_members_make_the_same_bytes() -> None:
    made = []
    for _ in range(2):
        file = io.BytesIO()
        writer = ShardWriter(file)
        writer.add("a.bin", b"abc")
        made.append((writer.close(), file.getvalue()))
    assert made[0] == made[1]


@pytest.mark.parametrize("row_id", HOSTILE)
def test_a_rows_id_cannot_lead_out_of_a_folder_nor_split_a_sample(row_id: str) -> None:
    name = safe_name(3, row_id)
    assert name.isascii()
    assert name.startswith("00000003-")
    assert not set(name) & set("./\\\0\n ")
    writer = ShardWriter(io.BytesIO())
    writer.add(f"{name}-999999999.{suffix_of('image/png')}", b"x")  # a header has room for it


def test_rows_have_names_of_their_own_whatever_their_ids() -> None:
    assert len(set(names_of(HOSTILE))) == len(HOSTILE)
    assert len(set(names_of(["a.b", "a_b", "a/b", "x" * 70, "x" * 71]))) == 5
    assert names_of(["b", "a"]) == sorted(names_of(["b", "a"]))  # in the order of the chunk


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [
        ("image/png", "png"),
        ("image/jpeg", "jpg"),
        ("IMAGE/JPEG; q=1", "jpg"),
        ("audio/mpeg", "mp3"),
        ("audio/x-wav", "wav"),
        ("image/svg+xml", "svgxml"),
        ("video/../../mp4", "mp4"),
        ("x/" + "a" * 99, "a" * 16),
        ("image/", "bin"),
        ("", "bin"),
        (None, "bin"),
    ],
)
def test_the_suffix_is_what_readers_of_webdataset_go_by(media_type: str | None, suffix: str) -> None:
    assert suffix_of(media_type) == suffix
