"""The manifest's view of a finished run: what readers get. `raygen.open_run(uri)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from raygen.config.source import StorageOptions
from raygen.errors import CorruptDataError, KeyNotFoundError, UserError
from raygen.formatting import count
from raygen.runs.commit import Commit, chunk_of, read_data
from raygen.runs.duplicates import mark, packed, unpacked
from raygen.runs.manifest import Manifest
from raygen.runs.media import read_media
from raygen.runs.outcome import outcome_rows, outcome_schema
from raygen.runs.plan import Plan
from raygen.runs.retries import Merged, read_merged
from raygen.storage import Store, arrow_filesystem, open_store


class RunView:
    """A finished run's outcomes, retries merged in. Everything goes by the manifest, never by a listing.

    Example:
        >>> import raygen
        >>> run = raygen.open_run("runs/python-docs-questions")  # doctest: +SKIP
        >>> run.to_arrow().filter(pc.field("status") == "accepted")  # doctest: +SKIP
    """

    def __init__(self, store: Store, merged: Merged) -> None:
        self._store = store
        self._merged = merged

    @property
    def uri(self) -> str:
        return self._store.uri

    @property
    def plan(self) -> Plan:
        return self._merged.plan

    @property
    def manifest(self) -> Manifest:
        return self._merged.manifest

    @property
    def chunks(self) -> list[tuple[Store, Commit]]:
        return self._merged.chunks

    @property
    def counts(self) -> dict[str, int]:
        """Rows: total, accepted, rejected, failed."""
        return self._merged.rows

    @property
    def schema(self) -> pa.Schema:
        return outcome_schema(self.plan.kept)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the outcomes chunk by chunk, each checked against its SHA-256. Raises CorruptDataError."""
        return self._merged.tables()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield all outcomes as dicts: maps as dicts, kept columns of JSON as their values. Raises CorruptDataError.

        Media that stand beside the tables are not read: `media` gives the bytes of a sample.
        """
        for table in self.tables():
            yield from outcome_rows(table)

    def media(self, sample: Mapping[str, Any]) -> bytes | None:
        """Return the bytes of a sample's picture, sound or video, read now and checked; None: it is a text.

        Args:
            sample: one of a row's `samples` or `discarded`.

        Raises:
            CorruptDataError: they are others than were committed. KeyNotFoundError: the archive is gone.
        """
        shard = sample.get("shard")
        place = self.chunks[0] if shard is None else self._by_chunk.get(chunk_of(shard))
        if place is None:
            raise CorruptDataError(f"{self.uri}: no chunk of it has an archive {shard!r}")
        return read_media(*place, sample)

    @cached_property
    def _by_chunk(self) -> dict[int | None, tuple[Store, Commit]]:
        return {place[1].chunk: place for place in self.chunks}

    def to_arrow(self) -> pa.Table:
        """Return all outcomes as one table, in the order of the input, checked. Raises CorruptDataError."""
        tables = list(self.tables())
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def dataset(self) -> pads.Dataset:
        """Return a lazy pyarrow dataset: filters and projections are pushed down. Reads are not checked against digests.

        Raises:
            UserError: the run has duplicates. That they are rejected does not stand in the files that would be read.
        """
        if self._merged.duplicates is not None and self._merged.duplicates[1].rows:
            said = count(self._merged.duplicates[1].rows, "row is a duplicate", "rows are duplicates")
            raise UserError(
                f"{self.uri}: {said}, which stands beside the data files; "
                "read with tables(), to_arrow() or to_ray(), or write the view with `raygen export --format parquet`"
            )
        filesystem, path_of = arrow_filesystem(self._store)
        root = f"{self._store.uri.rstrip('/')}/"  # retries lie below the run
        paths = [path_of(store.uri_of(commit.data).removeprefix(root)) for store, commit in self.chunks]
        return pads.dataset(paths, schema=self.schema, format="parquet", filesystem=filesystem)

    def to_ray(self) -> Any:
        """Return a Ray Data dataset, one block a chunk, each checked against its SHA-256 as it is read."""
        import ray.data

        if not self.chunks:
            return ray.data.from_arrow(self.schema.empty_table())
        merged, chunks, step = self._merged, self.chunks, self._merged.deduplicate_step
        # Each task gets the duplicates of its own chunk, not of all.
        items = [
            {"number": number, "duplicates": packed(merged.duplicates_of(commit.chunk))}
            for number, (_, commit) in enumerate(chunks)
        ]

        def read(batch: dict[str, Any]) -> pa.Table:
            both = zip(batch["number"], batch["duplicates"], strict=True)
            return pa.concat_tables(
                [mark(read_data(*chunks[number]), unpacked(data), step) for number, data in both]
            )

        return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(read, batch_size=None)


def open_run(uri: str, storage: StorageOptions | None = None) -> RunView:
    """Open a finished run for reading.

    Raises:
        UserError: there is no run, or it is not finished.
    """
    store = open_store(uri, storage)
    try:
        return RunView(store, read_merged(store))
    except KeyNotFoundError:
        state = (
            "is not finished; run the same command again to resume it"
            if store.exists("plan.json")
            else "holds no run"
        )
        raise UserError(f"{uri} {state}") from None
