"""Tar: the members of an archive by their headers alone, from any header on, past broken stretches."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from raygen.config.base import is_number

BLOCK = tarfile.BLOCKSIZE
LONGEST_EXTENSION = 2**20  # bytes of a pax or long-name header
LONG_NAME, LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file. `name` is only ever compared and shown, never used as a path."""

    name: str  # bytes that are not UTF-8 stand as lone surrogates
    start: int  # of its first header
    data: int  # where its content starts
    size_bytes: int
    fault: str | None = None  # why its content cannot be read

    @property
    def stop(self) -> int:
        return self.data + _padded(self.size_bytes)


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes [start, stop) that are neither a member nor padding."""

    start: int
    stop: int


def members(file: BinaryIO, start: int, stop: int) -> Iterator[Member | Gap]:
    """Yield regular files and gaps of [start, stop), in order; no padding, folders, links or devices.

    After a broken header the next sound one is looked for, block by block.
    """
    offset = start
    gap: int | None = None
    extended: dict[str, str] = {}  # what the headers before a member's own say of it
    first: int | None = None  # the first of these headers
    while offset < stop:
        file.seek(offset)
        block = file.read(min(BLOCK, stop - offset))
        if gap is None and first is None and not block.strip(b"\0"):
            offset += BLOCK
            continue
        header = _header(block)
        extension = header is not None and header.type in (*PAX, LONG_NAME, LONG_LINK, tarfile.XGLTYPE)
        found = _extension(file, header, offset, stop) if header is not None and extension else {}
        if header is None or found is None:
            gap = first if gap is None and first is not None else offset if gap is None else gap
            extended, first = {}, None
            offset += BLOCK
            continue
        if gap is not None:
            yield Gap(gap, offset)
            gap = None
        if extension:
            first = offset if first is None else first
            extended |= found
            offset += BLOCK + _padded(header.size)
            continue
        size = int(extended.get("size", header.size))
        begin = offset if first is None else first
        if header.isreg():
            fault = None
            if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in extended):
                fault = "a sparse file"
            elif offset + BLOCK + _padded(size) > stop:
                # With the padding gone, members of the same sample are likely gone too.
                fault = f"cut off by the end of the archive at byte {stop:,}"
            yield Member(extended.get("path", header.name), begin, offset + BLOCK, size, fault)
        holds_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        offset += BLOCK + (_padded(size) if holds_data else 0)
        extended, first = {}, None
    if gap is not None or first is not None:
        yield Gap(gap if gap is not None else first or 0, stop)


def _header(block: bytes) -> tarfile.TarInfo | None:
    """Return a header whose checksum is right, else None."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None
    return header if header.size >= 0 else None


def _extension(file: BinaryIO, header: tarfile.TarInfo, offset: int, stop: int) -> dict[str, str] | None:
    """Return what a pax or long-name header says of the member after it; None if it is broken."""
    if header.size > LONGEST_EXTENSION or offset + BLOCK + header.size > stop:
        return None
    content = file.read(header.size)
    if header.type == LONG_NAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    if header.type not in PAX:
        return {}
    records = {}
    while content.strip(b"\0"):
        # Each record is "<length of all of it> <key>=<value>\n".
        length, space, _ = content.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(content):
            return None
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        content = content[int(length) :]
    if not is_number(records.get("size", "0")):
        return None
    return records


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK) * BLOCK
