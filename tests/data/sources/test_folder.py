from __future__ import annotations

from pathlib import Path

import pytest

from raygen.config.source import Source
from raygen.data.sources import open_source
from raygen.data.sources.base import Range
from raygen.errors import SourceError
from tests.data.media.test_images import encoded, png_header
from tests.data.reading import Row, plan, read_all


def source(path: Path, form: str, **more: object) -> Source:
    return Source.model_validate({"format": form, "uri": str(path), **more})


def test_text_files_are_rows(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "ä.txt").write_text("\ufeffhello\nworld", encoding="utf-8")
    (tmp_path / "sub" / "bad.txt").write_bytes(b"abc\xff")
    (tmp_path / "sub" / "large.txt").write_bytes(b"x" * 1025)
    (tmp_path / "sub" / "zero.txt").write_bytes(b"")
    (tmp_path / "sub" / ".hidden").write_bytes(b"")
    rows = read_all(source(tmp_path, "text", max_media_bytes=1024))
    nothing = {"path": None, "text": None}
    assert rows == [
        Row("sub/bad.txt", "wrong_encoding", "sub/bad.txt: not UTF-8 at byte 3", nothing),
        Row("sub/deep/ä.txt", None, None, {"path": "sub/deep/ä.txt", "text": "hello\nworld"}),
        Row("sub/large.txt", "media_too_large", rows[2].message, nothing),
        Row("sub/zero.txt", None, None, {"path": "sub/zero.txt", "text": ""}),
    ]
    assert [row.id for row in read_all(source(tmp_path / "sub", "text"))][:2] == ["bad.txt", "deep/ä.txt"]


def test_images_are_rows(tmp_path: Path) -> None:
    good = encoded("png")
    (tmp_path / "a.jpg").write_bytes(good)
    (tmp_path / "b.png").write_bytes(good[:100])
    (tmp_path / "c.png").write_bytes(png_header(50_000, 50_000))
    rows = read_all(source(tmp_path, "images", max_media_pixels=2000))
    assert [row.code for row in rows] == [None, "corrupt_media", "media_too_large"]
    assert rows[0].values == {
        "path": "a.jpg", "image": good, "media_type": "image/png", "width": 40, "height": 30,
    }  # fmt: skip
    assert all((row.message or row.id).startswith(row.id) for row in rows)
    projected = read_all(source(tmp_path, "images", max_media_pixels=2000), columns=["width"])
    assert [row.values for row in projected] == [{"width": 40}, {"width": None}, {"width": None}]


def test_ranges_are_of_inputs(tmp_path: Path) -> None:
    for i in range(7):
        (tmp_path / f"{i}.txt").write_text(str(i))
    planned = plan(source(tmp_path, "text", max_rows=5), 2)
    assert planned.ranges == [Range(0, 0, 2, 2, 0), Range(2, 2, 4, 2, 0), Range(4, 4, 5, 1, 0)]
    assert [row.values["text"] for row in read_all(source(tmp_path, "text", key="path"), 2)] == list(
        "0123456"
    )
    with pytest.raises(SourceError, match="'name'; a folder's only key is 'path'"):
        plan(source(tmp_path, "text", key="name"))


def test_a_changed_or_lost_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    planned = plan(source(tmp_path, "text"))
    reader = open_source(source(tmp_path, "text"))
    (tmp_path / "b.txt").write_text("three")
    with pytest.raises(SourceError, match=r"b\.txt has changed"):
        list(reader.read(planned.inputs, planned.ranges, None))
    (tmp_path / "b.txt").unlink()
    with pytest.raises(SourceError, match=r"b\.txt is gone"):
        list(reader.read(planned.inputs, planned.ranges, None))


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    (tmp_path / "in" / "b.txt").symlink_to(tmp_path / "secret.txt")
    assert [row.id for row in read_all(source(tmp_path / "in", "text"))] == ["a.txt"]
