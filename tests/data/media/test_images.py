from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from raygen.data.media.images import check_image, check_size
from raygen.errors import RowError


def encoded(form: str, size: tuple[int, int] = (40, 30)) -> bytes:
    out = BytesIO()
    image = Image.new("RGB", size)
    image.putdata([(x * 7 % 256, x * 13 % 256, x % 256) for x in range(size[0] * size[1])])
    image.save(out, form)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises `width` x `height` pixels and has none."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = part(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + pixels + part(b"IEND", b"")


@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
def test_describes_by_content(form: str) -> None:
    info = check_image(encoded(form), "x.dat", 1200)
    assert (info.media_type, info.width, info.height) == (f"image/{form}", 40, 30)


@pytest.mark.parametrize("form", ["jpeg", "png", "gif"])
@pytest.mark.parametrize("part", [0.1, 0.6, 0.9])
def test_a_cut_off_image_is_corrupt(form: str, part: float) -> None:
    data = encoded(form)
    with pytest.raises(RowError, match=r"^x\.dat: not a readable image") as caught:
        check_image(data[: int(len(data) * part)], "x.dat", 10_000)
    assert caught.value.code == "corrupt_media"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"hello", "starts with b'hello'; formats: JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "starts with b'%!PS-Ado'"),
        (png_header(100, 100), "not a readable image"),
    ],
)
def test_what_is_no_image(data: bytes, why: str) -> None:
    with pytest.raises(RowError, match=why) as caught:
        check_image(data, "x", 10_000)
    assert caught.value.code == "corrupt_media"


def test_a_broken_file_is_not_said_to_be_a_broken_program() -> None:
    data = bytearray(encoded("png"))
    data[data.index(b"IDAT") + 8] ^= 1
    with pytest.raises(RowError, match=r"^x: not a readable image: broken PNG file"):
        check_image(bytes(data), "x", 10_000)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [101, 10_000, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(RowError) as caught:
        check_image(png_header(side, side), "x.png", 10_000)
    assert caught.value.code == "media_too_large"


def test_size() -> None:
    check_size(10, "x", 10)
    with pytest.raises(RowError, match="x: 11 bytes; at most 10 are allowed") as caught:
        check_size(11, "x", 10)
    assert caught.value.code == "media_too_large"
