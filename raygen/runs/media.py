"""Media of committed samples: read by place and digest, wherever they lie; and the check of every object that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.runs.commit import Commit, StoredObject
from raygen.runs.outcome import SAMPLE
from raygen.storage import Store

READ_TRIES = 3  # a flip on the way is asked for again; one in the store stays
SAMPLE_COLUMNS = ("samples", "discarded")
PIECE_BYTES = 2**20


def read_media(store: Store, commit: Commit, sample: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of a sample's medium, checked against its digest; None: it is a text.

    Args:
        store, commit: of its chunk. sample: as the outcome holds it (SAMPLE).

    Raises:
        CorruptDataError: they are others than were committed. KeyNotFoundError: the archive is gone.
    """
    if sample.get("digest") is None:
        media: bytes | None = sample.get("media")  # of an earlier schema, which kept no digest
        return media
    if sample["media"] is not None:
        return _checked(sample["media"], sample, f"{store.uri_of(commit.data)}: a sample")
    where, held = object_of(store, commit, sample["shard"])
    begin, stop = sample["offset"], sample["offset"] + sample["size_bytes"]
    for _ in range(READ_TRIES - 1):
        data = where.get_range(held.key, begin, stop)
        if hashlib.sha256(data).hexdigest() == sample["digest"]:
            return data
    return _checked(where.get_range(held.key, begin, stop), sample, where.uri_of(held.key))


def _checked(data: bytes, sample: Mapping[str, Any], where: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != sample["digest"]:
        raise CorruptDataError(
            f"{where}: {len(data):,} bytes that do not match the SHA-256 of sample {sample['number']}"
        )
    return data


def object_of(store: Store, commit: Commit, key: str) -> tuple[Store, StoredObject]:
    """Return an object that a commit names, and the store that it is in: the run's own, or one that a retry mended.

    Raises:
        CorruptDataError: the commit names no such object.
    """
    for held in commit.objects:
        if held.key == key:
            return home_of(store, held), held
    raise CorruptDataError(f"{store.uri_of(commit.key)} names no object {key!r}, in which a sample is to be")


def home_of(store: Store, held: StoredObject) -> Store:
    """Return the store that an object is in: a retry refers to what the runs before it stored, from the run's top."""
    if held.run is None:
        return store
    top = store.parent().parent()  # a retry lies in retries/<number>/
    return top.child(held.run) if held.run else top


def carried(objects: tuple[StoredObject, ...], prefix: str) -> tuple[StoredObject, ...]:
    """Return a chunk's objects as a retry's commit names them.

    Args:
        prefix: of the run or retry whose commit named them so far, from the run's top: `retries/0001/`, or empty.
    """
    return tuple(
        held
        if held.run is not None
        else StoredObject(held.key, held.size_bytes, held.sha256, held.kind, prefix)
        for held in objects
    )


def with_media(store: Store, commit: Commit, table: pa.Table, most_bytes: int) -> Iterator[pa.Table]:
    """Yield a chunk's outcomes, or some of them, with all media inside, in pieces of whole rows.

    Args:
        most_bytes: of media in a piece; a row with more of them is a piece of its own.

    Raises:
        CorruptDataError: media are others than were committed. KeyNotFoundError: an archive is gone.
    """
    sizes = [0] * table.num_rows
    for name in SAMPLE_COLUMNS:
        lists = table.column(name).combine_chunks()
        samples, rows = pc.list_flatten(lists), pc.list_parent_indices(lists).to_pylist()
        beside = pc.is_valid(samples.field("shard")).to_pylist()
        for row, is_beside, size in zip(rows, beside, samples.field("size_bytes").to_pylist(), strict=True):
            sizes[row] += size if is_beside else 0
    begin = held = 0
    for row, size in enumerate(sizes):
        if held and held + size > most_bytes:
            yield _filled(store, commit, table.slice(begin, row - begin))
            begin, held = row, 0
        held += size
    if begin < table.num_rows:
        yield _filled(store, commit, table.slice(begin)) if any(sizes) else table


def _filled(store: Store, commit: Commit, table: pa.Table) -> pa.Table:
    for name in SAMPLE_COLUMNS:
        rows = table.column(name).to_pylist()
        for sample in (sample for row in rows for sample in row):
            sample["media"] = read_media(store, commit, sample)
            sample["shard"] = sample["offset"] = None
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(rows, pa.list_(SAMPLE)))
    return table


def media_problems(store: Store, commit: Commit, table: pa.Table) -> list[str]:
    """Check every object that a commit names, and every medium of its table, reading each object once; say what is wrong.

    Args:
        table: the chunk's outcomes, checked.
    """
    found = []
    places: dict[str, list[dict[str, Any]]] = {held.key: [] for held in commit.objects}
    for name in SAMPLE_COLUMNS:
        samples = pc.list_flatten(table.column(name).combine_chunks())
        media = samples.filter(pc.is_valid(samples.field("digest")))
        for sample in media.to_pylist():
            if sample["shard"] in places:
                places[sample["shard"]].append(sample)
                continue
            try:
                read_media(store, commit, sample)
            except (CorruptDataError, KeyNotFoundError) as error:
                found.append(str(error))
    for held in commit.objects:
        where = home_of(store, held)
        try:
            with where.open(held.key) as file:
                wrong = _wrong_in(file, held, sorted(places[held.key], key=lambda each: int(each["offset"])))
        except (CorruptDataError, KeyNotFoundError) as error:
            wrong = str(error)
        if wrong:
            found.append(wrong if held.key in wrong else f"{where.uri_of(held.key)}: {wrong}")
    return found


def _wrong_in(file: BinaryIO, held: StoredObject, media: list[dict[str, Any]]) -> str | None:
    """Read an object once, from its beginning to its end; say what is wrong with it."""
    digest, at = hashlib.sha256(), 0
    amiss = []

    def read(size_bytes: int) -> str:
        nonlocal at
        piece_digest = hashlib.sha256()
        while size_bytes and (piece := file.read(min(size_bytes, PIECE_BYTES))):
            digest.update(piece)
            piece_digest.update(piece)
            at, size_bytes = at + len(piece), size_bytes - len(piece)
        return piece_digest.hexdigest()

    for sample in media:
        if sample["offset"] < at:
            amiss.append(sample["number"])
            continue
        read(sample["offset"] - at)
        if read(sample["size_bytes"]) != sample["digest"]:
            amiss.append(sample["number"])
    read(2**63)
    if (at, digest.hexdigest()) != (held.size_bytes, held.sha256):
        return f"{at:,} bytes that do not match the SHA-256 of its commit"
    return f"{len(amiss)} samples are not where they are said to be, or others" if amiss else None
