"""Thumbnails: untrusted pictures, made small and encoded anew for a page."""

from __future__ import annotations

import base64
import io
import warnings

from PIL import Image

from raygen.data.media.images import FORMATS

MAX_PIXELS = 50_000_000  # a larger picture is not decoded
THUMBNAIL_PX = 320


def thumbnail(data: bytes) -> str | None:
    """Return a picture as the data: URI of a small WebP; None for bytes that are no picture of FORMATS.

    The picture is decoded and encoded anew: nothing else of the file, such as metadata, reaches the page.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as corrupt EXIF data, of which nothing is used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return None
                picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ):
        return None  # Pillow's decoders raise all of these for broken files
    encoded = io.BytesIO()
    small.save(encoded, "WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()
