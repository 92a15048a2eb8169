"""Shards: tar archives of media in the form of WebDataset, written to a file in one pass."""

from __future__ import annotations

import hashlib
import re
import tarfile
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
# What readers of WebDataset go by, where it is not the second part of the media type.
SUFFIXES = {"image/jpeg": "jpg", "audio/mpeg": "mp3", "audio/x-wav": "wav"}
LONGEST_ID = 60  # characters of a row's id in a member's name, which takes 100


class ShardWriter:
    """Writes an archive to a file, member by member. Its digest is that of what has been written so far.

    Args:
        file: open for writing, empty.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member; returns where its data begin.

        Args:
            name: ASCII, at most 100 characters.
        """
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.size_bytes
        self._write(data)
        self._write(bytes(-len(data) % BLOCK))
        return offset

    def close(self) -> str:
        """Write the archive's end; returns the SHA-256 of all of it, as hex."""
        self._write(END)
        self._file.flush()
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)


def suffix_of(media_type: str | None) -> str:
    """Return the suffix of a member that holds media of this type: `png`; `bin` for one that says nothing."""
    kind = (media_type or "").partition(";")[0].strip().lower()
    found = SUFFIXES.get(kind) or re.sub(r"[^a-z0-9]", "", kind.rpartition("/")[2])[:16]
    return found or "bin"


def safe_name(place: int, row_id: str) -> str:
    """Return a name for a row's members: unique by its place, without dots, whatever its id is. The id stands in the JSON."""
    return f"{place:08d}-{re.sub(r'[^A-Za-z0-9_-]', '_', row_id)[:LONGEST_ID]}"
