"""Images: is this an image that can be decoded in full? Only formats that are safe to parse are tried."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from raygen.errors import RowError

# `max_pixels` decides what is too large, not Pillow's lower limit, beyond which it warns of every image.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# Pillow knows some fifty formats; one of them starts Ghostscript. A batch of images needs these.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
IMAGE_SUFFIXES = frozenset(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"))


@dataclass(frozen=True, slots=True)
class ImageInfo:
    media_type: str  # such as image/jpeg, by content, whatever the file is called
    width: int  # pixels
    height: int  # pixels


def check_image(data: bytes, where: str, max_pixels: int) -> ImageInfo:
    """Verify and decode an image (of an animated one the first frame) and describe it.

    Args:
        data: the whole encoded image.
        where: names the image in error messages.
        max_pixels: of width times height; decided from the header, before anything is decoded.

    Raises:
        RowError: `corrupt_media`, or `media_too_large`.
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            media_type = Image.MIME[image.format or ""]
            too_large = width * height > max_pixels
            if not too_large:
                image.verify()
        if not too_large:
            with Image.open(BytesIO(data), formats=FORMATS) as image:  # `verify` leaves an image unusable
                image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RowError("media_too_large", f"{where}: {error}") from None
    except Exception as error:  # noqa: BLE001 - on broken data Pillow's parsers raise whatever they stumble over
        raise RowError("corrupt_media", f"{where}: not a readable image: {_short(error, data)}") from None
    if too_large:
        raise RowError(
            "media_too_large",
            f"{where}: {width} x {height} pixels; at most {max_pixels:,} are allowed: "
            "raise source.max_media_pixels",
        )
    return ImageInfo(media_type, width, height)


def check_size(size_bytes: int, where: str, max_bytes: int) -> None:
    """Refuse a file by its size, before it is read. Raises RowError `media_too_large`."""
    if size_bytes > max_bytes:
        raise RowError(
            "media_too_large",
            f"{where}: {size_bytes:,} bytes; at most {max_bytes:,} are allowed: raise source.max_media_bytes",
        )


def _short(error: Exception, data: bytes) -> str:
    if not data:
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return f"it starts with {data[:8]!r}; formats: {', '.join(FORMATS)}"
    # Pillow raises SyntaxError for files that break their format: its name would speak of a program.
    kind = "" if isinstance(error, SyntaxError) else f"{type(error).__name__}: "
    return f"{kind}{error}"[:200]
