"""Echo pictures: what the echo engine renders: noise as PNG files, made from hashes."""

from __future__ import annotations

import hashlib
import struct
import zlib


def echo_picture(prompt: str, seed: int, width: int = 8, height: int = 8, size_bytes: int = 0) -> bytes:
    """Return a PNG whose bytes depend on the arguments alone.

    Args:
        prompt: what the picture is of.
        seed: of the sample.
        width: in pixels. height: in pixels.
        size_bytes: the file is filled up to this size, with bytes that do not compress.
    """
    drawn = hashlib.shake_256(f"{prompt}\x00{seed}".encode("utf-8", "surrogatepass"))
    noise = drawn.digest(3 * width * height)
    rows = (noise[3 * width * y : 3 * width * (y + 1)] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    parts = [
        _png_part(b"IHDR", header),
        _png_part(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 1)),
    ]
    missing = size_bytes - len(_PNG) - sum(map(len, parts)) - 2 * _PNG_PART
    if missing > 0:
        parts.append(
            _png_part(b"ecHo", drawn.digest(len(noise) + missing)[len(noise) :])
        )  # a chunk that readers of pictures pass by
    return b"".join([_PNG, *parts, _png_part(b"IEND", b"")])


_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PART = 12  # bytes of a chunk beside its data: length, kind, checksum


def _png_part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
