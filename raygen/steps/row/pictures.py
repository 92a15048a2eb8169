"""Pictures: a row's pictures as models are given them."""

from __future__ import annotations

import base64
from typing import Any

from raygen.errors import RowError

_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def picture_type(data: bytes, column: str) -> str:
    """Return a picture's media type. Raises RowError `corrupt_media`."""
    media_type = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if media_type is None:
        raise RowError("corrupt_media", f"column {column!r}: neither PNG, JPEG, GIF nor WebP")
    return media_type


def image_part(data: bytes, column: str) -> dict[str, Any]:
    """Return a picture as a part of a chat message's content. Raises RowError `corrupt_media`."""
    url = f"data:{picture_type(data, column)};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
