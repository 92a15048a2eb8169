"""The shelf: where the media of one attempt at a chunk go while it is being generated, so that memory stays bounded.

Small media stay in their samples, and so in the table. Once a chunk has more of them than a table may hold, they are laid
into tar archives: each grows in a temporary file, without a name, and is stored as one object of the attempt's own when it
is full. Nothing counts before the commit names it; what a crash leaves is for `collect` to remove.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any, BinaryIO

from raygen.config.sink import Sink
from raygen.data.media.shards import ShardWriter, safe_name, suffix_of
from raygen.json_text import write_json
from raygen.runs.commit import DATA, Attempt, StoredObject, chunk_name, put_own
from raygen.storage import Store

SHARD = "shard"  # the kind of object
Placed = tuple[
    int, str, dict[str, Any]
]  # a row's place in the chunk, its id, and a sample as outcomes hold it


class Bin:
    """Takes media and throws them away: their samples keep the digest, which says whether others are the same."""

    def take(self, place: int, row_id: str, samples: Iterable[dict[str, Any]]) -> None:
        """Take a row's media out of its samples."""
        for sample in samples:
            sample["media"] = None

    def close(self) -> tuple[StoredObject, ...]:
        """Return the objects that hold the media: none."""
        return ()


class Shelf:
    """Takes the media of a chunk's rows, one row at a time, in any order. A context manager: it leaves no file behind.

    Args:
        chunk: its number. attempt: whose objects these are; past its limit nothing is written.
    """

    def __init__(self, store: Store, chunk: int, attempt: Attempt, sink: Sink) -> None:
        self._store, self._attempt, self._sink = store, attempt, sink
        self._name = f"{DATA}{chunk_name(chunk)}-{attempt.id}"
        self._objects: list[StoredObject] = []
        self._inside: list[Placed] | None = (
            [] if sink.inside_bytes else None
        )  # None: media go beside the table
        self._inside_bytes = 0
        self._file: BinaryIO | None = None
        self._shard: ShardWriter | None = None

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._shard = self._inside = None

    def take(self, place: int, row_id: str, samples: Iterable[dict[str, Any]]) -> None:
        """Take a row's media; its samples say afterwards where they lie.

        Args:
            place: of the row in its chunk. samples: as outcomes hold them (SAMPLE); texts among them stay as they are.

        Raises:
            AttemptExpiredError, StorageError: an archive could not be stored.
        """
        media: list[Placed] = [
            (place, row_id, sample) for sample in samples if sample.get("media") is not None
        ]
        if self._inside is not None:
            self._inside += media
            self._inside_bytes += sum(sample["size_bytes"] for _, _, sample in media)
            if self._inside_bytes <= self._sink.inside_bytes:
                return
            media, self._inside = self._inside, None
        for each in media:
            self._lay(*each)

    def close(self) -> tuple[StoredObject, ...]:
        """Store what is left. Returns the objects that hold the chunk's media; none if they are in its table.

        Raises:
            AttemptExpiredError, StorageError: an archive could not be stored.
        """
        self._store_shard()
        return tuple(self._objects)

    def _lay(self, place: int, row_id: str, sample: dict[str, Any]) -> None:
        """Move one medium into the archive, with a JSON member beside it that says what it is."""
        data = sample["media"]
        if self._shard is not None and self._shard.size_bytes + len(data) > self._sink.chunk_bytes:
            self._store_shard()
        if self._shard is None:
            self._file = tempfile.TemporaryFile(prefix="raygen-media-")  # noqa: SIM115 - closed by _store_shard
            self._shard = ShardWriter(self._file)
        name = f"{safe_name(place, row_id)}-{sample['number']}"
        sample["shard"] = self._key
        sample["offset"] = self._shard.add(f"{name}.{suffix_of(sample['media_type'])}", data)
        sample["media"] = None
        told = {key: sample[key] for key in ("number", "step", "media_type", "width", "height", "seconds")}
        self._shard.add(
            f"{name}.json", write_json({"row_id": row_id, **told, "sha256": sample["digest"]}, default=str)
        )

    @property
    def _key(self) -> str:
        return f"{self._name}-{len(self._objects)}.tar"

    def _store_shard(self) -> None:
        if self._shard is None or self._file is None:
            return
        file, sha256 = self._file, self._shard.close()
        made = StoredObject(self._key, self._shard.size_bytes, sha256, SHARD)
        put_own(lambda: self._store.put_file(made.key, file, sha256), self._attempt)
        self._objects.append(made)
        file.close()
        self._file = self._shard = None
