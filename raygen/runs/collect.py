"""Remove data that no commit refers to: what crashed and overtaken attempts left behind.

Data of chunks that have a commit is removed. A commit never changes, so such an object can never count any more,
whatever a sleeping process does when it wakes. Data of a chunk without a commit may be about to get one: it stays until
the run is resumed and that chunk is committed; or, where the run is finished without that chunk, until no attempt can
commit it any more. The grace period comes on top, for clocks and readers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from raygen.errors import KeyNotFoundError
from raygen.runs import duplicates
from raygen.runs.commit import DATA, chunk_of, committed_chunks, read_commits
from raygen.runs.manifest import Manifest
from raygen.runs.plan import Plan
from raygen.runs.retries import retry_prefixes
from raygen.storage import Store

LEFTOVER_S = 3600.0  # no single write takes as long
DUPLICATES = (
    -1
)  # in place of a chunk: what names duplicates, which a driver wrote that did not get to write the manifest


@dataclass(frozen=True)
class Collected:
    removed: list[str]  # keys (with dry_run: that would be)
    removed_bytes: int
    young: int  # unreferenced, but younger than the grace period
    pending: int  # of chunks without a commit yet: kept


def collect(store: Store, grace_s: float, *, dry_run: bool = False, now_s: float | None = None) -> Collected:
    """Remove unreferenced data objects older than `grace_s` from a run and its retries, and what killed writes left.

    Raises:
        CorruptDataError: a commit or the manifest cannot be read; nothing of that run or retry was removed.
    """
    removed: list[str] = []
    removed_bytes = young = pending = 0
    for prefix in ["", *retry_prefixes(store)]:
        # The listing of data comes first: whatever is committed after it cannot make a listed object an orphan wrongly,
        # because the commits are read afterwards.
        objects = [(chunk_of(info.key.removeprefix(prefix)), info) for info in store.list(prefix + DATA)]
        objects += [(DUPLICATES, info) for info in store.list(prefix + duplicates.PREFIX)]
        part = store.child(prefix) if prefix else store
        chunks = committed_chunks(part)
        wanted = {chunk for chunk, _ in objects if chunk is not None} & chunks  # DUPLICATES is none of them
        live = {prefix + key for commit in read_commits(part, sorted(wanted)) for key in commit.keys}
        uncommitted_s: float | None = (
            None  # how old data of a chunk without a commit has to be; None: it stays
        )
        try:
            # The same as the commits say, except where a store without conditional writes lost one.
            manifest = Manifest.load(part)
            live |= {prefix + key for commit in manifest.chunks for key in commit.keys}
            if manifest.duplicates is not None:
                live.add(prefix + manifest.duplicates.data)
            uncommitted_s = grace_s + Plan.load(part).attempt_limit_s
        except KeyNotFoundError:
            pass
        for chunk, info in objects:
            if info.key in live or chunk is None:
                continue
            kept_s = grace_s if chunk in chunks else uncommitted_s
            if kept_s is None:
                pending += 1
            elif (time.time() if now_s is None else now_s) - info.modified_s < kept_s:
                young += 1
            else:
                removed.append(info.key)
                removed_bytes += info.size_bytes
                if not dry_run:
                    store.delete(info.key)
    for info in store.leftovers():
        # A write that is under way looks the same: however short the grace period, it is left alone.
        if (time.time() if now_s is None else now_s) - info.modified_s >= max(grace_s, LEFTOVER_S):
            removed.append(info.key)
            removed_bytes += info.size_bytes
            if not dry_run:
                store.delete(info.key)
    return Collected(removed, removed_bytes, young, pending)
