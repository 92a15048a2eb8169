from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.data.sources.tar import Gap, Member, members
from raygen.errors import SourceError
from tests.data.media.test_images import encoded
from tests.data.reading import PROPERTY, Row, plan, read_all

File = tuple[str, bytes]


def source(path: Path, **more: object) -> Source:
    return Source.model_validate({"format": "webdataset", "uri": str(path), **more})


def tar(files: Sequence[File], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def three_each(count: int) -> list[File]:
    return [
        file
        for i in range(count)
        for file in (
            (f"train/{i:04d}.txt", f"text {i}".encode()),
            (f"train/{i:04d}.seg.json", b'{"n": %d}' % i),
            (f"train/{i:04d}.BIN", bytes([i % 256]) * 700),
        )
    ]


def test_samples_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(three_each(5)))
    rows = read_all(source(tmp_path), 2)
    assert rows[3] == Row(
        "a.tar/train/0003",
        None,
        None,
        {"key": "train/0003", "txt": "text 3", "seg.json": '{"n": 3}', "bin": b"\x03" * 700},
    )
    assert [row.id for row in rows] == [f"a.tar/train/{i:04d}" for i in range(5)]
    planned = plan(source(tmp_path))
    text, data = pa.string(), pa.large_binary()
    assert planned.columns == {"key": text, "txt": text, "seg.json": text, "bin": data}
    assert [r.id for r in read_all(source(tmp_path, key="key", max_rows=2))] == ["train/0000", "train/0001"]
    assert read_all(source(tmp_path), columns=["txt", "x"])[1].values == {"txt": "text 1", "x": None}


NAME = st.sampled_from(["a", "b", "d/a", "x" * 120, "ü", "y/" * 60 + "z"])
FORMS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]


@PROPERTY
@given(
    st.lists(
        st.tuples(NAME, st.lists(st.sampled_from(["txt", "bin", "a.b"]), min_size=1, unique=True)),
        unique_by=lambda s: s[0],
    ),
    st.integers(1, 4),
    st.sampled_from(FORMS),
    st.integers(0, 1100),
)
def test_any_names_and_sizes(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[tuple[str, list[str]]],
    rows: int,
    form: int,
    size: int,
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    path.write_bytes(
        tar([(f"{name}.{suffix}", b"x" * size) for name, suffixes in found for suffix in suffixes], form)
    )
    read = read_all(source(path), rows)
    assert [row.id for row in read] == [f"a.tar/{name}" for name, _ in found]
    for row, (_, suffixes) in zip(read, found, strict=True):
        assert {name for name, value in row.values.items() if value is not None} == {"key", *suffixes}
        assert all(len(row.values[suffix]) == size for suffix in suffixes)


def test_one_percent_poison_loses_no_good_row(tmp_path: Path) -> None:
    image = encoded("jpeg")
    files = []
    for i in range(300):
        files += [(f"{i:03d}.jpg", image[:200] if i % 100 == 7 else image)]
        files += [(f"{i:03d}.json", b"{" if i % 100 == 8 else b"{}")]
        files += [(f"{i:03d}.cls", b"\xff" if i % 100 == 9 else b"1")]
    (tmp_path / "a.tar").write_bytes(tar(files))
    rows = read_all(source(tmp_path), 50)
    bad = {7: "corrupt_media", 8: "broken_json", 9: "wrong_encoding"}
    assert [row.code for row in rows] == [bad.get(i % 100) for i in range(300)]
    assert rows[7].message is not None
    assert rows[7].message.startswith("a.tar, row 7 (007): 007.jpg: not a readable image")
    assert all(row.code is None for row in read_all(source(tmp_path), 50, columns=["key"]))


def test_json_members_are_the_text_that_they_were(tmp_path: Path) -> None:
    text = b'{"id": 12345678901234567890123, "x": 0.1234567890123456789, "long": %s}' % (b"7" * 400)
    (tmp_path / "a.tar").write_bytes(tar([("a.json", text), ("b.json", b'{"x": NaN}')]))
    rows = read_all(source(tmp_path))
    assert (rows[0].values["json"], rows[1].code) == (text.decode(), "broken_json")


def test_a_member_over_the_limit_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar([("a.bin", b"x" * 1024), ("b.bin", b"x" * 1025)]))
    assert [r.code for r in read_all(source(tmp_path, max_media_bytes=1024))] == [None, "media_too_large"]


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_a_broken_header_costs_what_it_heads(tmp_path: Path, chunk_rows: int) -> None:
    """Ten samples of 512 + 512 (txt), 512 + 512 (json) and 512 + 1024 (bin) bytes; some headers are overwritten."""
    data = bytearray(tar(three_each(10), tarfile.GNU_FORMAT))
    sample = 3584
    data[2 * sample : 2 * sample + 512] = b"\xaa" * 512  # first header of sample 2
    data[5 * sample + 1024 : 5 * sample + 1536] = b"\xaa" * 512  # second of sample 5
    data[8 * sample : 9 * sample] = b"\xaa" * sample  # all of sample 8
    (tmp_path / "a.tar").write_bytes(data)
    rows = read_all(source(tmp_path), chunk_rows)
    assert [row.id for row in rows] == [
        *(f"a.tar/train/000{i}" for i in (0, 1)), "a.tar#2", *(f"a.tar/train/000{i}" for i in range(2, 8)), "a.tar#9",
        "a.tar/train/0009",
    ]  # fmt: skip
    assert [i for i, row in enumerate(rows) if row.code == "corrupt_archive"] == [2, 6, 9]
    assert rows[3].values.get("txt") is None
    assert rows[3].values["bin"] == b"\x02" * 700
    assert rows[2].message == "a.tar, row 2: bytes 7,168 to 8,192 of the archive are no tar members"


@pytest.mark.parametrize("cut", [3584 * 3 + 100, 3584 * 3 + 600, 3584 * 3 + 1024, 3584 * 4 - 1])
def test_a_cut_off_archive_keeps_its_good_samples(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.tar").write_bytes(tar(three_each(10), tarfile.GNU_FORMAT)[:cut])
    rows = read_all(source(tmp_path), 2)
    assert [row.code for row in rows[:3]] == [None] * 3
    assert [row.values["txt"] for row in rows[:3]] == ["text 0", "text 1", "text 2"]
    # A cut between two members, on a block's border, cannot be told from an archive without an end mark.
    clean = cut == 3584 * 3 + 1024
    assert [row.code for row in rows[3:]] == [None if clean else "corrupt_archive"]


def test_a_size_that_is_no_number_is_a_gap(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, size in (("a.txt", None), ("b.txt", "\u00b2")):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 1, {"size": size} if size else {}
            archive.addfile(info, io.BytesIO(b"x"))
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    assert [row.code for row in read_all(source(tmp_path))] == [None, "corrupt_archive", None]


def test_odd_members(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:

        def add(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, link
            archive.addfile(info, io.BytesIO(data))

        add("folder.d", kind=tarfile.DIRTYPE)
        add("README", b"read me")
        add("__meta__.txt", b"x")
        add(".hidden.txt", b"x")
        add("link.txt", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add("../../../etc/x.txt", b"out")
        add("/abs/y.txt", b"abs")
        add("z.pyd", pickle.dumps({"never": "loaded"}))
        add("twice.txt", b"1")
        add("twice.TXT", b"2")
        add("own.key", b"mine")
        add("own.txt", b"x")
        add("bad\udcff.txt", b"x")
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    rows = read_all(source(tmp_path), 2)
    assert [(row.id, row.code) for row in rows] == [
        ("a.tar/../../../etc/x", None),
        ("a.tar//abs/y", None),
        ("a.tar/z", None),
        ("a.tar/twice", "corrupt_archive"),
        ("a.tar/own", "corrupt_archive"),
        ("a.tar#5", "wrong_encoding"),
    ]
    assert rows[2].values["pyd"] == pickle.dumps({"never": "loaded"})


def test_neighbours_only(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar([("1.txt", b""), ("2.txt", b""), ("1.cls", b"")]))
    with pytest.raises(
        SourceError, match=r"must stand next to each other.*'a\.tar/1' \(a\.tar row 0 and a\.tar row 2\)"
    ):
        plan(source(tmp_path))


@pytest.mark.parametrize("form", FORMS)
def test_a_gap_holds_the_long_name_of_what_was_lost(form: int) -> None:
    files = [("1.txt", b"one"), ("n" * 200 + ".txt", b"x"), ("3.txt", b"three")]
    archive = bytearray(tar(files, form))
    first, lost, last = members(io.BytesIO(archive), 0, len(archive))
    assert isinstance(lost, Member)
    archive[lost.data - 512 : lost.data] = b"\x55" * 512
    found = list(members(io.BytesIO(archive), 0, len(archive)))
    assert found == [first, Gap(lost.start, lost.stop), last]


def test_an_endless_name_is_not_read() -> None:
    archive = tar([("n" * 2**21 + ".txt", b"one"), ("2.txt", b"two")], tarfile.GNU_FORMAT)
    found = list(members(io.BytesIO(archive), 0, len(archive)))
    assert [type(each) for each in found] == [Gap, Member, Member]
    assert all(isinstance(each, Gap) or len(each.name) <= 100 for each in found)


def test_archives_stuck_together(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar([("1.txt", b"one")]) + tar([("2.txt", b"two")]))
    assert [row.values["txt"] for row in read_all(source(tmp_path))] == ["one", "two"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no tar archive"),
        (b"no tar " * 1000, "is no tar archive"),
        (gzip.compress(tar([("1.txt", b"")])), "is compressed"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        plan(source(tmp_path))


def test_an_empty_archive_and_a_wrong_key(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar([]))
    assert plan(source(tmp_path)).ranges == []
    with pytest.raises(SourceError, match=r"source\.key: 'txt'; allowed: 'key'"):
        plan(source(tmp_path, key="txt"))


def test_a_changed_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(three_each(2)))
    planned = plan(source(tmp_path))
    (tmp_path / "a.tar").write_bytes(tar(three_each(3)))
    with pytest.raises(SourceError, match="has changed"):
        list(open_source(source(tmp_path)).read(planned.inputs, planned.ranges, None))


@pytest.mark.parametrize("form", FORMS)
@PROPERTY
@given(st.data())
def test_damage_anywhere_is_seen_alike_from_any_sample(form: int, data: st.DataObject) -> None:
    """Members after a damage are found, and those before it untouched."""
    archive = bytearray(tar([(f"{'n' * 101}{i}.txt", bytes([i]) * (300 * i)) for i in range(6)], form))
    whole = [each for each in members(io.BytesIO(archive), 0, len(archive)) if isinstance(each, Member)]
    start = data.draw(st.integers(0, len(archive) - 1))
    stop = min(len(archive), start + data.draw(st.integers(1, 3000)))
    archive[start:stop] = b"\x55" * (stop - start)
    found = list(members(io.BytesIO(archive), 0, len(archive)))
    survivors = [each for each in found if isinstance(each, Member)]
    assert [each for each in whole if each.stop <= start] == [
        each for each in survivors if each.stop <= start
    ]
    hit = {
        each.data for each in whole if each.start < stop
    }  # without its long name, one may come up short-named
    after = [each for each in survivors if each.start >= stop and each.data not in hit]
    assert after == [each for each in whole if each.start >= stop]
    for gap in found:
        assert not isinstance(gap, Gap) or (gap.start < stop and gap.stop > start)
