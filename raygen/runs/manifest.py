"""The manifest: a finished run's table of contents. Readers use it, never a listing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from raygen.errors import ChunkIntegrityError
from raygen.formatting import count
from raygen.runs.commit import DATA, Commit, no_calls
from raygen.runs.duplicates import Duplicates, corrected
from raygen.runs.outcome import ACCEPTED, STATUSES
from raygen.runs.plan import Plan
from raygen.storage import Store
from raygen.storage.create import create_once
from raygen.storage.sealed import read_sealed, seal
from raygen.usage import Usage, with_usage

MANIFEST_KEY = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    run_id: str
    plan: str  # Plan.digest
    name: str
    config_hash: str
    rows: dict[str, int]  # total and by status, after duplicates were found
    usage: Usage
    chunks: list[Commit]
    finished_s: float
    raygen_version: str
    calls: dict[str, int] = field(default_factory=no_calls)
    duplicates: Duplicates | None = None  # in the whole merged run, when the job looks for them

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.dump()).hexdigest()

    def dump(self) -> bytes:
        record = {n: getattr(self, n) for n in self.__dataclass_fields__}
        record["chunks"] = [commit.record() for commit in self.chunks]
        if self.duplicates is None:
            del record["duplicates"]
        else:
            record["duplicates"] = asdict(self.duplicates)
        return seal(record)

    @classmethod
    def load(cls, store: Store) -> Manifest:
        """Read the manifest. Raises KeyNotFoundError while the run is unfinished, CorruptDataError."""
        record: dict[str, Any] = read_sealed(
            store, MANIFEST_KEY, "remove it and run again: it is made from the commits"
        )
        record["chunks"] = [Commit.read(each) for each in record["chunks"]]
        if "duplicates" in record:
            record["duplicates"] = Duplicates(**record["duplicates"])
        return cls(**with_usage(record))


class Totals:
    """Sums over commits: rows (total and by status; of the failed the unasked), usage, calls (reused, computed)."""

    def __init__(self, commits: Iterable[Commit] = ()) -> None:
        self.rows = dict.fromkeys(("total", *STATUSES), 0)
        self.unasked = 0
        self.usage = Usage()
        self.calls = no_calls()
        for commit in commits:
            self.add(commit)

    def add(self, commit: Commit) -> None:
        self.rows["total"] += commit.rows
        for status in STATUSES:
            self.rows[status] += commit.counts[status]
        self.unasked += commit.unasked
        self.usage += commit.usage
        for kind in self.calls:
            self.calls[kind] += commit.calls[kind]


def finish(
    store: Store, plan: Plan, commits: Iterable[Commit], duplicates: Duplicates | None = None
) -> Manifest:
    """Write the manifest once every chunk has its commit, or enough rows are accepted.

    Which chunks are in is decided by this write: if another driver was faster, theirs is returned.

    Args:
        duplicates: what `write_duplicates` returned, when the job looks for them: their object stands before the manifest.

    Raises:
        ChunkIntegrityError: a chunk has no commit and more rows are wanted; or a commit belongs to another plan or has other
            rows than planned, or its outcomes are gone.
    """
    from raygen.version import __version__

    by_chunk = {commit.chunk: commit for commit in commits}
    digest = plan.digest
    sums = Totals(by_chunk.values())
    rows = sums.rows if duplicates is None else corrected(sums.rows, duplicates.within(set(by_chunk)))
    enough = plan.target is not None and rows[ACCEPTED] >= plan.target
    if sorted(by_chunk) != plan.todo and not (enough and by_chunk.keys() <= set(plan.todo)):
        raise ChunkIntegrityError(
            f"{store.uri}: {len(by_chunk)} commits for {len(plan.todo)} chunks; the run is not finished"
        )
    for commit in by_chunk.values():
        if commit.plan != digest or commit.rows != plan.chunks[commit.chunk].rows:
            raise ChunkIntegrityError(
                f"{store.uri_of(commit.key)} is not of this run (another plan or other rows); remove it and run again"
            )
    there = {info.key for info in store.list(DATA)}
    if lost := [commit for commit in by_chunk.values() if not there.issuperset(commit.keys)]:
        raise ChunkIntegrityError(
            f"{store.uri}: the outcomes of {count(len(lost), 'committed chunk')} are gone, such as {lost[0].data}: "
            f"put them back, or remove their commits, such as {lost[0].key}, and run again"
        )
    chunks = [by_chunk[chunk] for chunk in sorted(by_chunk)]
    manifest = Manifest(
        plan.run_id,
        digest,
        plan.name,
        plan.config_hash,
        rows,
        sums.usage,
        chunks,
        time.time(),
        __version__,
        sums.calls,
        duplicates,
    )
    standing = create_once(store, MANIFEST_KEY, manifest.dump(), lambda: Manifest.load(store), read_back=True)
    assert standing is not None
    if standing.run_id != plan.run_id:
        raise ChunkIntegrityError(f"{store.uri_of(MANIFEST_KEY)} is another run's; choose another --output")
    return standing
