"""Thumbnails: small pictures of what can be decoded safely, and nothing of all else."""

from __future__ import annotations

import base64
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raygen.data.media import thumbnail as module
from raygen.data.media.thumbnail import thumbnail


def encoded(size: tuple[int, int], mode: str = "RGB", kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 100).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_thumbnail_is_a_small_picture_of_the_same_shape(kind: str) -> None:
    uri = thumbnail(encoded((1600, 800), "L" if kind == "GIF" else "RGB", kind))
    assert uri is not None
    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (320, 160)


def test_thumbnail_of_anything_else_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    good = encoded((64, 64), kind="JPEG")
    assert thumbnail(b"") is None
    assert thumbnail(b"<svg xmlns='http://www.w3.org/2000/svg'/>") is None
    assert thumbnail(encoded((8, 8), kind="PPM")) is None
    assert thumbnail(good[: len(good) // 2]) is None
    with monkeypatch.context() as patched:
        patched.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
        assert thumbnail(good) is None
    monkeypatch.setattr(module, "MAX_PIXELS", 64 * 64 - 1)
    assert thumbnail(good) is None


@settings(deadline=None)
@given(st.data())
def test_thumbnail_of_broken_bytes_never_raises(data: st.DataObject) -> None:
    raw = bytearray(encoded((24, 24), kind=data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    result = thumbnail(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    assert result is None or result.startswith("data:image/webp;base64,")
