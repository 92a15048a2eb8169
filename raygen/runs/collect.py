"""Remove data that no commit refers to: what crashed and overtaken attempts left behind.

Only data of chunks that have a commit is ever removed. A commit never changes, so such an object can never count any
more, whatever a sleeping process does when it wakes. Data of a chunk without a commit may be about to get one: it
stays until the run is resumed and that chunk is committed. The grace period comes on top, for clocks and readers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from raygen.errors import KeyNotFoundError
from raygen.runs.commit import DATA, committed_chunks, read_commits
from raygen.runs.retries import retry_prefixes
from raygen.storage import Store


@dataclass(frozen=True)
class Collected:
    removed: list[str]  # keys (with dry_run: that would be)
    removed_bytes: int
    young: int  # unreferenced, but younger than the grace period
    pending: int  # of chunks without a commit yet: kept


def collect(store: Store, grace_s: float, *, dry_run: bool = False, now_s: float | None = None) -> Collected:
    """Remove unreferenced data objects older than `grace_s` from a run and its retries."""
    removed: list[str] = []
    removed_bytes = young = pending = 0
    for prefix in ["", *retry_prefixes(store)]:
        # The listing of data comes first: whatever is committed after it cannot make a listed object an orphan wrongly,
        # because the commits are read afterwards.
        objects = list(store.list(prefix + DATA))
        part = store.child(prefix) if prefix else store
        chunks = committed_chunks(part)
        wanted = {int(o.key.removeprefix(prefix + DATA).split("-")[0]) for o in objects} & chunks
        live = {prefix + commit.data for commit in read_commits(part, sorted(wanted))}
        for each in objects:
            chunk = int(each.key.removeprefix(prefix + DATA).split("-")[0])
            if each.key in live:
                continue
            if chunk not in chunks:
                pending += 1
            elif (time.time() if now_s is None else now_s) - each.modified_s < grace_s:
                young += 1
            else:
                removed.append(each.key)
                removed_bytes += each.size_bytes
                if not dry_run:
                    try:
                        store.delete(each.key)
                    except KeyNotFoundError:
                        pass
    return Collected(removed, removed_bytes, young, pending)
